FROM busybox AS a
RUN --mount=type=secret,id=x,required x
FROM a
RUN --mount=type=secret,id=x --mount=type=ssh x
RUN --mount=type=ssh,required y
