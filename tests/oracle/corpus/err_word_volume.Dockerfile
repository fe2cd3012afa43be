FROM busybox
VOLUME "a
