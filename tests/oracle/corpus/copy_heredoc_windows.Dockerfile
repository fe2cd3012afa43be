FROM busybox
COPY <<d:f /x
y
d:f
