FROM busybox
SHELL [1]
