FROM busybox
ADD https://h.x/r.git?ref=a&ref=b /a
