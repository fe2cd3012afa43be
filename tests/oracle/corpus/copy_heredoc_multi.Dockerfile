FROM busybox
COPY <<a <<b plain /d/
A
a
B
b
