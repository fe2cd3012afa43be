FROM busybox
COPY --link --link x y
