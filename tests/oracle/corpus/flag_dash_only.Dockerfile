FROM busybox
RUN --
