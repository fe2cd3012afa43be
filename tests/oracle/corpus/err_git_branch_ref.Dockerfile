FROM busybox
ADD https://h.x/r.git?branch=a&ref=b /a
