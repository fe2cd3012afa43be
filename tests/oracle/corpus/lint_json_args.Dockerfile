FROM busybox
CMD a b
ENTRYPOINT c d
SHELL ["/bin/bash","-c"]
CMD e
ENTRYPOINT f
