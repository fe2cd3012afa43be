FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD --checksum=md5:1 https://h.example/x /
FROM busybox
RUN b
