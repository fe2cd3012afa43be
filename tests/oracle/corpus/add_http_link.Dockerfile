FROM busybox
ADD --link https://example.com/f /d/
