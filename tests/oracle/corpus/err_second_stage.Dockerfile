FROM busybox
RUN a
FROM busybox AS b
RUN \
  multi \
 line && \
 x
COPY a
