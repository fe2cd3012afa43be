FROM busybox
RUN --mount=type=secret,from=x,id=y z
