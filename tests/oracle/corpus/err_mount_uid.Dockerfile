FROM busybox
RUN --mount=type=cache,target=/x,uid=-1 y
