FROM busybox
COPY --nope a b
