# syntax = docker/dockerfile-upstream:master-labs
# escape=`
FROM busybox
RUN a `
 b
