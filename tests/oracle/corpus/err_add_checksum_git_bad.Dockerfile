FROM busybox
ADD --checksum=xyz https://github.com/o/r.git#main /a
