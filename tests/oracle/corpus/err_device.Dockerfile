FROM busybox
RUN --device= x
