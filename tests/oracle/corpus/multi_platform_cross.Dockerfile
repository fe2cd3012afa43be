FROM --platform=$BUILDPLATFORM alpine AS b
ARG TARGETPLATFORM
ARG TARGETARCH
RUN go build
FROM busybox
COPY --from=b /a /a
