FROM busybox
HEALTHCHECK --start-interval=1ns CMD x
