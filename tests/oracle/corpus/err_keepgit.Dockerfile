FROM busybox
COPY --keep-git-dir a b
