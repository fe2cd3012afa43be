FROM busybox
COPY . /
COPY / /x
