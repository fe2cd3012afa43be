FROM busybox AS a
RUN a
FROM a AS b
RUN b
FROM b
RUN c
COPY --from=a /x /y
