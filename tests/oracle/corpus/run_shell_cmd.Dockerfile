FROM busybox
SHELL ["/bin/bash","-ec"]
RUN a b
CMD c
ENTRYPOINT d
