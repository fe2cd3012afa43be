FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD https://github.com/o/r.git?zzz=1 /
FROM busybox
RUN b
