FROM busybox AS a
USER u
WORKDIR /w
FROM a
COPY x .
RUN y
