FROM busybox
ENV e=""
EXPOSE $e
