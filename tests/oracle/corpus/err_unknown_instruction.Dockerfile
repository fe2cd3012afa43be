FROM busybox
FOO bar
RUN x
