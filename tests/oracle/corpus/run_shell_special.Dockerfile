FROM busybox
RUN echo "q" 'q' \$X $PATH ${PATH} ${NOPE:-d} a\ b && \
  second line   \
  third
