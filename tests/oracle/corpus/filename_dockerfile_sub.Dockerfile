FROM busybox
COPY x x
