FROM busybox AS context
RUN a
FROM busybox AS scratch
FROM busybox AS Dup
FROM alpine AS dup
