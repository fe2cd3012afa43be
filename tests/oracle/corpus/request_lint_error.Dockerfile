FROM busybox as B
RUN --mount=type=nothing x
