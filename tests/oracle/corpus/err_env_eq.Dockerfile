FROM busybox
ENV =a
