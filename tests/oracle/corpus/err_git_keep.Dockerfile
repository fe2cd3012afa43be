FROM busybox
ADD https://h.x/r.git?keep-git-dir=maybe /a
