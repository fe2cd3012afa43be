FROM busybox
ADD --checksum=cccccccccccccccccccccccccccccccccccccccc https://example.com/r.git#main /a
