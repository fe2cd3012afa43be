FROM busybox
ADD --checksm=x a b
