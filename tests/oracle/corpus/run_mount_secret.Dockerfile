FROM busybox
RUN --mount=type=secret,id=s a
RUN --mount=type=secret,id=s,target=/x/y,mode=0440,uid=1,gid=2,required b
RUN --mount=type=secret,id=t,env=TOK echo $TOK
RUN --mount=type=secret,target=/q/w c
RUN --mount=type=secret,id=t,env=T2,target=/f d
