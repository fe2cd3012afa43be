FROM busybox
COPY a /
