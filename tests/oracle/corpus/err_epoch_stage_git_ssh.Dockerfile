FROM busybox
RUN a
FROM scratch AS src
ADD ssh://git@github.com/o/r.git?zzz=1 /
FROM busybox
