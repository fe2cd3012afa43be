FROM busybox
EXPOSE 80-x
