FROM busybox
ENV TARGETPLATFORM=linux/arm64
RUN --mount=type=secret,id=s,env=S echo $S
