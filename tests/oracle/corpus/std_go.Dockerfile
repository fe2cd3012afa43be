# syntax=docker/dockerfile:1
ARG GO_VERSION=latest
FROM --platform=$BUILDPLATFORM alpine:${GO_VERSION} AS base
WORKDIR /src
ENV CGO_ENABLED=0
FROM base AS vendor
RUN --mount=type=bind,target=.,rw --mount=type=cache,target=/go/pkg/mod <<EOT
  set -e
  go mod tidy
  mkdir /out
  cp -r go.mod go.sum vendor /out
EOT
FROM base AS build
ARG TARGETPLATFORM
ARG TARGETOS TARGETARCH
RUN --mount=type=bind,target=. --mount=type=cache,target=/root/.cache GOOS=$TARGETOS GOARCH=${TARGETARCH} go build -o /usr/bin/app
FROM scratch AS binaries
COPY --link --from=build /usr/bin/app /
FROM alpine
COPY --link --from=build /usr/bin/app /usr/bin/
ENTRYPOINT ["app"]
