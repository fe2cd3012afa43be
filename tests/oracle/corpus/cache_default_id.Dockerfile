FROM busybox
WORKDIR /w
RUN --mount=type=cache,target=./rel/../c a
RUN --mount=type=cache,dst=/a//b/ b
