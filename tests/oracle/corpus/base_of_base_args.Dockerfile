FROM busybox AS a
ARG X=1
ENV Y=2
FROM a AS b
RUN echo $X $Y
ARG X=3
FROM b
RUN echo $X
LABEL l=$X$Y
