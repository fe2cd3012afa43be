FROM busybox
ENV A=${X!y}
