FROM busybox
COPY --from=alpine:3.20 /etc/os-release /o
