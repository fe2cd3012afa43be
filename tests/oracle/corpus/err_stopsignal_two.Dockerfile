FROM busybox
STOPSIGNAL a b
