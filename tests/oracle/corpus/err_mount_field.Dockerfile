FROM busybox
RUN --mount=type=bind,foo true
