#!/x
// syntax=other/frontend:2
FROM busybox
