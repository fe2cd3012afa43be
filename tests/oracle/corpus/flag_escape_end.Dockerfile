FROM busybox
COPY --exclude="a\"b" a b
COPY --exclude=x\
