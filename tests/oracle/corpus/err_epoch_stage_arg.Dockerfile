FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ARG X=${Y?no}
ADD https://h.example/x /
FROM busybox
RUN b
