FROM busybox
ENV A=${X
