FROM busybox
ENTRYPOINT ["/e"]
