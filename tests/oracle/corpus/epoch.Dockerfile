FROM busybox
RUN x
WORKDIR /e
COPY a b
ENV A=1
