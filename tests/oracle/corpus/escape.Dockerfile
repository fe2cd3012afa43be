# escape=`
FROM busybox
RUN a `
  b
ENV A=x\y B=`$A C=$A
COPY a b`
 c /d/
RUN echo \a `$X
