FROM busybox
COPY --parents a/b/c /d/
COPY --parents x/./y/*.txt /d/
COPY --parents ./q/./r /d
COPY --parents /abs/./p* /d/
