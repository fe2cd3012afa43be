FROM busybox
CMD y
WORKDIR z
