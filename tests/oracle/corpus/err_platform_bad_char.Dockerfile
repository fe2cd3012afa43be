ARG P=a!b
FROM --platform=$P busybox
