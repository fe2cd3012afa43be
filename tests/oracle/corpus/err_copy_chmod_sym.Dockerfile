FROM busybox
COPY --chmod=q+x a b
