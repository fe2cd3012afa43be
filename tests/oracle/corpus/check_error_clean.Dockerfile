# check=error=true
FROM busybox
RUN x
