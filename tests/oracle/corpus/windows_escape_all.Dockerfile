# escape=`
FROM busybox
RUN a `
  b
ENV X="a`"b" Y=a` b
COPY a` b c
RUN echo "`$X"
