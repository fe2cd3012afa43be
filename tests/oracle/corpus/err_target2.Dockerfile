FROM busybox AS build
RUN x
