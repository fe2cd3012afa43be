FROM busybox
RUN a
WORKDIR /w
RUN b
