FROM busybox
RUN --mount=type=secret,id=a,required --mount=type=ssh,id=k,required --mount=type=ssh x
RUN --mount=type=secret,id=b x
