FROM busybox AS a
RUN 1
FROM a
RUN 2
