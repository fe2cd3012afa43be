ARG a="b
FROM busybox
