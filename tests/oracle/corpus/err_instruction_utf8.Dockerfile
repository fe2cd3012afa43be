FROM busybox
RÉN true
