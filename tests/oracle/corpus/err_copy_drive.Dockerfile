FROM busybox
COPY d:/x /y
