FROM busybox
RUN a
