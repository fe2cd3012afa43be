FROM busybox
ARG SOURCE_DATE_EPOCH
RUN a
FROM scratch AS Src
ADD <<EOF /f
x
EOF
FROM busybox
RUN b
