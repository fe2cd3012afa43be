FROM busybox
COPY <<EOF /x
abc
