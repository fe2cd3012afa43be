FROM busybox
EXPOSE 80/foo
