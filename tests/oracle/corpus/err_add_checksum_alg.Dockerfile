FROM busybox
ADD --checksum=md5:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa http://example.com/x /c/
