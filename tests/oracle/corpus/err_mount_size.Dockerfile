FROM busybox
RUN --mount=type=tmpfs,target=/x,size=foo y
