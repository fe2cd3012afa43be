FROM busybox
RUN --mount true
