FROM busybox
WORKDIR rel
WORKDIR again
