FROM busybox
COPY --chwon=1 x y
