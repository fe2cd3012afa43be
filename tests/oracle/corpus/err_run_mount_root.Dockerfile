FROM busybox
RUN --mount=type=bind,target=/ y
