FROM busybox
RUN --mount=type=secret,id=x,target=C:secret.txt y
