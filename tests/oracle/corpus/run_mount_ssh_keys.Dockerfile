FROM busybox
RUN --mount=type=ssh,uid=1 --mount=type=ssh,id=a,gid=2,target=/s --mount=type=ssh,id=b,mode=0666,required x
