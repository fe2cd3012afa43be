FROM busybox
COPY --checksum=x a b
