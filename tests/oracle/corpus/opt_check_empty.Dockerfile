FROM busybox as B
