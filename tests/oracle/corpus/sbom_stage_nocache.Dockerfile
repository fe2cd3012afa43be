FROM busybox AS one
ARG BUILDKIT_SBOM_SCAN_STAGE=true
RUN 1
FROM busybox
COPY --from=one a b
