FROM busybox
COPY --from=pinned:latest@sha256:abababababababababababababababababababababababababababababababab /a /b
