# syntax=other/frontend
FROM busybox
