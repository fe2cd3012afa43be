ARG v
FROM busybox:${v}
RUN x
