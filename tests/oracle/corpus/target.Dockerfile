FROM busybox AS a
RUN a
FROM a AS b
RUN b
FROM a AS c
RUN c
