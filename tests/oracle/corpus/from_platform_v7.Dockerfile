FROM busybox
RUN true
WORKDIR /x
