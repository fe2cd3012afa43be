FROM alpine AS tools
RUN t
FROM busybox AS base
ONBUILD COPY --from=tools /t /t
FROM base
RUN x
