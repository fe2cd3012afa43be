FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD --checksum=${X?nor there} https://github.com/o/r.git /
FROM busybox
RUN b
