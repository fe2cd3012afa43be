FROM busybox AS a
RUN same
FROM busybox AS b
RUN same
FROM alpine
COPY --from=a /x /
COPY --from=b /x /
