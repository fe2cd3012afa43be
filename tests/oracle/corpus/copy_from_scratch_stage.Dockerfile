FROM scratch AS e
FROM busybox
COPY --from=e / /
