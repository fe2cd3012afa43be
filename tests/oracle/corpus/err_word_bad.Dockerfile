FROM busybox
ENV a=${x~y}
