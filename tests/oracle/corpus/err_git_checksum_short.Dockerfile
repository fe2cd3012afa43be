FROM busybox
ADD https://h.x/r.git?checksum=xyz /a
