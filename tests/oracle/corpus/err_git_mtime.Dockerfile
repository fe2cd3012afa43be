FROM busybox
ADD https://h.x/r.git?mtime=now /a
