FROM busybox
COPY --from=nginx /a /b
