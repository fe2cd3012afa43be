FROM busybox
RUN --device='a,"b' true
