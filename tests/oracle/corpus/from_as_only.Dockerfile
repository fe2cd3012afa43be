FROM as a
FROM busybox AS
