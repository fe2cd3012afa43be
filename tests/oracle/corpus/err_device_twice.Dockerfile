FROM busybox
RUN --device=name=a,name=b true
