FROM busybox
ADD https://h.x/r.git?what=a /a
