FROM busybox
COPY --parents d:/./x /y/
