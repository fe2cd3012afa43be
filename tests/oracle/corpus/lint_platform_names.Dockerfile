FROM --platform=linux/amd64 busybox AS linux-build
FROM --platform=linux/arm64 busybox AS x-arm64
FROM --platform=linux/arm64 busybox AS y
FROM --platform=bad/bad/bad/bad busybox AS z
