FROM busybox
COPY a /
COPY b /
COPY . /
