FROM busybox
LABEL =a
