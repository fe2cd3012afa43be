FROM busybox
ADD --checksum=sha256:aa http://example.com/x /c/
