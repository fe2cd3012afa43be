FROM busybox
RUN --security=foo x
