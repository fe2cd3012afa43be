FROM busybox
WORKDIR d:/x
