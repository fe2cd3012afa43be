FROM busybox
ARG M=9
COPY --chmod=$M a b
