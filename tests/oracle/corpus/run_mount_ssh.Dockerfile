FROM busybox
RUN --mount=type=ssh a
RUN --mount=type=ssh,id=k,target=/s,mode=0666,uid=3,gid=4,required b
ENV SSH_AUTH_SOCK=/own
RUN --mount=type=ssh --mount=type=ssh,id=two c
