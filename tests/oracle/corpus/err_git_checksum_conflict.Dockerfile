FROM busybox
ADD --checksum=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa https://example.com/r.git?checksum=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb /x
