FROM alpine AS s
RUN s
FROM busybox
RUN --mount=type=cache,target=/c,from=s,source=/seed a
RUN --mount=type=cache,target=/d,from=s,uid=5 b
