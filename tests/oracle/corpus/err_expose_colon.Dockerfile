FROM busybox
EXPOSE :
