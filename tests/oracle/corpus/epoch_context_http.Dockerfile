FROM busybox
COPY a b
