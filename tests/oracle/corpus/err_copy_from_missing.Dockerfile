FROM busybox
COPY --from=alpne /a /b
