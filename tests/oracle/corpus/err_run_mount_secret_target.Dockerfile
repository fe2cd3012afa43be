FROM busybox
RUN --mount=type=secret y
