# syntax=docker/dockerfile:1
FROM debian:bookworm AS build
RUN rm -f /etc/apt/apt.conf.d/docker-clean
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY --chmod=0644 main.c .
RUN gcc -O2 -o /out/app main.c
FROM scratch
COPY --link --from=build /out/app /app
ENTRYPOINT ["/app"]
