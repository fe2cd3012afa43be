FROM busybox
VOLUME ["a", ""]
