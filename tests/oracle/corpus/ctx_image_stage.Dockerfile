FROM busybox AS base
RUN x
FROM base
RUN y
