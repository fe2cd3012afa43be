FROM busybox
ADD https://example.com/r.git?nope=1 /a
