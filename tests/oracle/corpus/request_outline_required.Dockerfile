FROM busybox
RUN --mount=type=secret,id=a,required --mount=type=ssh,id=k,required x
