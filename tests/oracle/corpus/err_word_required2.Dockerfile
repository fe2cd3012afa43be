FROM busybox
WORKDIR ${x?}
