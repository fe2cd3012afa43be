FROM busybox
COPY --exclude x y
