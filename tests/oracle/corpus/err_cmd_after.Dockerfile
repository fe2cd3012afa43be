FROM busybox
SHELL foo
