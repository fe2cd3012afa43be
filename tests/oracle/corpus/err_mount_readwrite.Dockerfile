FROM busybox
RUN --mount=target=/a,rw=maybe x
