FROM busybox AS a
RUN a
COPY q q
FROM alpine AS b
RUN b
COPY --from=a q q
