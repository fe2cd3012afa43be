ARG B
FROM ${B?base} AS src
ADD https://h.example/x /
FROM busybox
RUN b
