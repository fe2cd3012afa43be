FROM busybox
ENV A=${NOPE:?must be set}
