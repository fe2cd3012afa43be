FROM busybox
ADD https://example.com/f local /d/
