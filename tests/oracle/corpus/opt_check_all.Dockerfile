FROM busybox AS B
