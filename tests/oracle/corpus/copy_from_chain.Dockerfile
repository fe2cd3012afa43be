FROM busybox AS a
RUN 1
FROM alpine AS b
COPY --from=a /1 /1
FROM scratch AS c
COPY --from=b /1 /
FROM busybox
COPY --from=c / /c
COPY --from=2 / /d
