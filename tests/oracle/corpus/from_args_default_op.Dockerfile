FROM busybox:${TAG:-1.36}
RUN true
