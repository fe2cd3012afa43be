FROM busybox
HEALTHCHECK CMD ["/check","-x"]
