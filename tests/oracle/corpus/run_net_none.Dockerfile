FROM busybox
RUN a
RUN --network=default b
RUN --network=host c
