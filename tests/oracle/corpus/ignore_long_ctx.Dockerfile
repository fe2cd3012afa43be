FROM busybox
COPY --from=src . /
