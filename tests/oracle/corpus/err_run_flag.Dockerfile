FROM busybox
RUN --nope x
