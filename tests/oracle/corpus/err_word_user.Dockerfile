FROM busybox
USER "a
