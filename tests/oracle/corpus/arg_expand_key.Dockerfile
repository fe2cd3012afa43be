ARG K=V
FROM busybox
ARG ${K}=1
