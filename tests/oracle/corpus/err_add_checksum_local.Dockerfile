FROM busybox
ADD --checksum=sha256:aa a /c/
