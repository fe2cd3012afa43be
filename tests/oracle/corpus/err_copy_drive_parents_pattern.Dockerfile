FROM busybox
COPY --parents /a/./d:/x /y/
