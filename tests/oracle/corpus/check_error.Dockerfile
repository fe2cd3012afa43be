# check=error=true
FROM busybox
CMD y
MAINTAINER z
