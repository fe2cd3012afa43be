FROM busybox
RUN --mount=type=bind,target=/x,gid=1 true
