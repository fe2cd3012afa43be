FROM busybox
RUN --network=foo x
