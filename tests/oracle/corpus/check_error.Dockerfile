# check=error=true
FROM busybox
CMD y
