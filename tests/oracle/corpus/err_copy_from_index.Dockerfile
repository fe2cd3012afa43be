FROM busybox
COPY --from=7 /x /y
