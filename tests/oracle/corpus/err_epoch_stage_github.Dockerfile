FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD github.com/o/r /
FROM busybox
RUN b
