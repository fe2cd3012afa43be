FROM busybox
ADD --keep-git-dir=true https://example.com/r.git?keep-git-dir=false /x
