FROM busybox
EXPOSE foo
