FROM busybox
RUN --mount=type=secret,id=x,target=C:\secret.txt y
RUN --mount=type=secret,id=z,env=Z y
