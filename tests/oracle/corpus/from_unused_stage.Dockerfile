FROM debian:bookworm AS unused
RUN apt
FROM busybox AS used
RUN x
FROM used
RUN y
