FROM busybox
VOLUME /a
VOLUME ["/b", "/c d"]
VOLUME /e /f
ENV V=/v
VOLUME $V/x
