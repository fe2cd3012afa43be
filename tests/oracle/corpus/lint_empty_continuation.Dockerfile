FROM busybox
RUN a \

  b \

  c
RUN d \
# x

 e
