FROM busybox
RUN --mount=type=secret,src=a,dst=/a,uid=1 --mount=type=secret,id=b,mode=0444 --mount=type=secret,target=/c/d,gid=7 --mount=type=secret,id=e,env=E,target=/e --mount=type=secret,id=f,required=false x
