ARG tag
ARG base
FROM busybox:$tga
RUN x
