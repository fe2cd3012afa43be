FROM busybox
COPY a /
COPY / /x
