FROM busybox
RUN --mount=type=bind,src=a,dst=/a --mount=type=bind,source=b,destination=/b --mount=type=bind,source=c,target=/c --mount=type=cache,id=x,dst=/x,sharing=private,from=busybox,src=/s,mode=0711,uid=5,gid=6 --mount=type=cache,target=/y,sharing=shared --mount=type=tmpfs,dst=/t,size=1m x
