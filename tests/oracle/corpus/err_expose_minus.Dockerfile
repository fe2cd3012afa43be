FROM busybox
EXPOSE -1
