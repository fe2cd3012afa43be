FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
RUN x
FROM busybox
RUN b
