ARG G=1
ARG H=$G
FROM busybox:$H AS one
ARG G
ARG I=${G}-$H
ARG I=${I}x
ARG J=$I
