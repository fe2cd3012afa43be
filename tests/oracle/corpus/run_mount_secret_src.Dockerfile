FROM busybox
RUN --mount=type=secret,source=foo,target=bar a
RUN --mount=type=secret,id=a/b/c b
