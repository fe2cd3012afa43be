FROM busybox
ARG V=1.2
ADD https://example.com/x-${V}.tgz /x/
