# check=error=true
FROM busybox as B
RUN a
