FROM busybox
RUN --mount=type=bind,required true
