FROM busybox
ENV A=1
RUN true
ENV B=${A:?needed} C=${A?x}
