FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD https://h.example/d/f.tar /
FROM busybox
RUN b
