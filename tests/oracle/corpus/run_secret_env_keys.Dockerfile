FROM busybox
ARG A=1
ENV B=2
RUN --mount=type=secret,id=s,env=S --mount=type=secret,id=b,env=B echo $A ${B} $S ${S:-x} ${N}
