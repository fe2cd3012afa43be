FROM alpine AS a
RUN a
FROM busybox
COPY --link --from=a /x /y/
ADD --link q /r
