FROM busybox AS a
RUN a
WORKDIR /w
COPY x y
FROM a
RUN b
