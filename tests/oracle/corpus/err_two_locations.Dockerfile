FROM --platform=bad!! busybox
RUN x
