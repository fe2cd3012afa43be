FROM busybox:1.36 AS b
RUN true
