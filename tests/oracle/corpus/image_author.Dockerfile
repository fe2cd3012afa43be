FROM debian:bookworm
RUN x
