FROM busybox
RUN --mount=type=cache,target=/c a
RUN --mount=type=cache,target=/c/,id=x,sharing=locked b
RUN --mount=type=cache,target=/p,sharing=private,mode=0700,uid=1000,gid=1001 c
RUN --mount=type=cache,target=rel,ro d
