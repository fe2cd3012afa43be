FROM busybox
ADD https://example.com/r.git /a
