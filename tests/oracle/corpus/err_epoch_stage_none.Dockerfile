FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ARG X
FROM busybox
RUN b
