FROM busybox
RUN --device=a,required=maybe true
