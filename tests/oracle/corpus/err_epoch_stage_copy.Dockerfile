FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
COPY a b
FROM busybox
RUN b
