// escape=`
// syntax=other/frontend
FROM busybox
