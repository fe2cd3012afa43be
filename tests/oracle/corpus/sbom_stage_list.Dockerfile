ARG BUILDKIT_SBOM_SCAN_STAGE=one,three
FROM busybox AS one
RUN 1
FROM busybox AS three
RUN 2
FROM busybox
COPY --from=one a b
