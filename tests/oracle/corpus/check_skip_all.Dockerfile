# check=skip=all
FROM busybox
CMD y
WORKDIR z
