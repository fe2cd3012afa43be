FROM busybox AS a
SHELL ["/bin/ash","-c"]
FROM a
RUN x
CMD y
