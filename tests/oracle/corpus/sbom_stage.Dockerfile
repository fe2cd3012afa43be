FROM busybox AS one
ARG BUILDKIT_SBOM_SCAN_STAGE=true
RUN 1
FROM alpine AS two
RUN 2
FROM busybox
COPY --from=one a b
COPY --from=two a b
