FROM busybox
RUN --mount=type=bind,target=/a ls
RUN --mount=target=/b,source=sub ls
RUN --mount=type=bind,source=x/../y,target=rel,rw ls
