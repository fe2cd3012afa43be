From busybox as b
RUN x
