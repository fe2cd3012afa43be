FROM busybox
RUN --mount=type=ssh,target=/agent.sock a
RUN --mount=type=ssh,id=x,required=true b
