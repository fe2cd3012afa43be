FROM busybox
RUN --device=a,requird=true true
