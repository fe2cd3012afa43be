FROM busybox
RUN true
USER ${x:?must be set}
