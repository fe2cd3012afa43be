FROM busybox
ARG =a
