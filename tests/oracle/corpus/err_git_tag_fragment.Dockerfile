FROM busybox
ADD https://h.x/r.git?tag=a#b /a
