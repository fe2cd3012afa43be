FROM busybox AS a
COPY --from=b /x /y
FROM busybox AS b
COPY --from=a /x /y
