ARG BUILDKIT_SBOM_SCAN_STAGE=true
FROM busybox AS one
RUN 1
FROM busybox
COPY --from=one a b
