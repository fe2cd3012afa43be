FROM --platform=linux/amd64 busybox
ENV TARGETARCH=arm TARGETVARIANT=v7
RUN a
ENV TARGETOS=freebsd
RUN b
