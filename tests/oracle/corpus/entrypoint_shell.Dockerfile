FROM busybox
ENTRYPOINT run me
