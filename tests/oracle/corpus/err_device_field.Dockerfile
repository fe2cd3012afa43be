FROM busybox
RUN --device=a.b/c,d true
