FROM busybox
ADD http://example.com/x
