FROM busybox
RUN --mount=type=tmpfs,target=/x,uid=1 true
