FROM busybox
RUN --mount=target=/a,readwrite=maybe x
