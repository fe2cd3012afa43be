FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD https://github.com/o/r.git?ref=v1&subdir=s&submodules=0&keep-git-dir=1&checksum=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa /
FROM busybox
RUN b
