FROM busybox
WORKDIR "a
