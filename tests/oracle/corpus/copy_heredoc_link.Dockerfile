FROM busybox
COPY --link <<f /x/
hi
f
