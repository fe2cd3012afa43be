FROM busybox AS a
FROM busybox AS A
FROM busybox AS a
