ARG G=glob
ARG H
FROM busybox
ARG G
ARG H
RUN echo $G $H
FROM alpine AS n
RUN no $G
