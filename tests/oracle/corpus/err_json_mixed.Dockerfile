FROM busybox
RUN ["a", 2]
