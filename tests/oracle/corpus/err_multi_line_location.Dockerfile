FROM busybox
COPY --chown=a \
  --chmod=zzz \
  a b
