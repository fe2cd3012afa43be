FROM busybox
RUN --mount=type=tmpfs,target=/t a
RUN --mount=type=tmpfs,target=/t,size=10m b
