FROM busybox AS src
ADD https://h.example/x /
FROM busybox
RUN b
