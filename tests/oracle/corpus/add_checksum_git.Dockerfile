FROM busybox
ADD --checksum=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa https://github.com/o/r.git#main /a
