FROM busybox
COPY --from=src / /a
