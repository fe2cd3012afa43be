FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD https://h.example/a /
ADD https://h.example/b /
FROM busybox
RUN b
