FROM busybox
COPY . .
