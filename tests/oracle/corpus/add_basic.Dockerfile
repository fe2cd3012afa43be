FROM busybox
ADD a.tar.gz /x
ADD b c /d/
