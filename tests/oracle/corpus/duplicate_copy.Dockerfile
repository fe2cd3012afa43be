FROM busybox
COPY <<a /1
same
a
COPY <<a /2
same
a
