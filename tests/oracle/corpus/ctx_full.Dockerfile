FROM docker.io/library/busybox
RUN x
