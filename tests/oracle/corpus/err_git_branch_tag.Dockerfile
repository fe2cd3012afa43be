FROM busybox
ADD https://h.x/r.git?branch=a&tag=b /a
