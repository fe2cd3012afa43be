FROM busybox
WORKDIR /src
RUN --mount=target=. a
RUN --mount=target=sub/.. b
