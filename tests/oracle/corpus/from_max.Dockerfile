FROM busybox as a b
