FROM busybox
ENV x=1 
ENV a=${x/y}
