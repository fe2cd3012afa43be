FROM busybox AS a
RUN --mount=from=b,target=/x y
FROM alpine AS b
RUN z
FROM a
