FROM busybox
HEALTHCHECK --timeout=1ns CMD x
