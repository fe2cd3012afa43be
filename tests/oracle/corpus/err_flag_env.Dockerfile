FROM busybox
ENV --x a=b
