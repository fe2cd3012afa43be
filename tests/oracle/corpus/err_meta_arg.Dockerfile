ARG A=${B:?no}
FROM busybox
