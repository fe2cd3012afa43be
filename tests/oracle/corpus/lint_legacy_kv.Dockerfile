FROM busybox
ENV a b c
LABEL d e f
ENV g=h
LABEL i j
