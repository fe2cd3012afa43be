FROM busybox
RUN a \
  b
ENV X=1
CMD ["a"]
