FROM busybox
COPY --chown=a\ b --chmod=\0644 "--x" b
