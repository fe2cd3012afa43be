FROM busybox
HEALTHCHECK --interval=1ns CMD x
