FROM busybox
RUN --mount='type=bind,"x' true
