FROM busybox
RUN --mount=type=bind,target=/x,foo=bar y
