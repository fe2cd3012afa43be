FROM busybox
COPY ${A:!b} /
