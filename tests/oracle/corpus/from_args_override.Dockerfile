ARG V=1.0
FROM busybox:$V
RUN true
