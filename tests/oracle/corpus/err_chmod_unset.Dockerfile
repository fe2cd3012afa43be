FROM busybox
COPY --chmod=${M?mode} a b
