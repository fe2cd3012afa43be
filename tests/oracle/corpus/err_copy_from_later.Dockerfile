FROM busybox AS a
COPY --from=1 /x /y
FROM a AS b
RUN z
