FROM busybox
ADD https://h.x/r.git?tag=a&ref=b /a
