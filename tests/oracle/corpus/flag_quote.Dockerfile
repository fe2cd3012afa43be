FROM busybox
COPY --chown="1:2" --from='0' a b
