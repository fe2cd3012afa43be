FROM busybox
RUN a && \
# comment
 b && \

 c
