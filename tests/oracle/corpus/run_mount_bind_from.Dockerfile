FROM alpine AS o
RUN o
FROM busybox
RUN --mount=from=o,source=/etc,target=/a cat
RUN --mount=type=bind,from=debian:bookworm,target=/d,rw cat
