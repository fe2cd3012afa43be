FROM busybox
RUN --mount=type=bind,target=/x,ro=foo y
