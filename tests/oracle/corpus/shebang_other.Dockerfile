#!/x
# syntax=other/frontend:2 a b
FROM busybox
