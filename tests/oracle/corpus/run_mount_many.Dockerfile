FROM busybox
WORKDIR /w
RUN --mount=type=cache,target=/z --mount=type=bind,target=/a --mount=type=tmpfs,target=/m --mount=type=secret,id=i --mount=type=ssh --network=none a
