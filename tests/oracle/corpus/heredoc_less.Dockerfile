FROM busybox
RUN cat < a
COPY a<b c<<d e
