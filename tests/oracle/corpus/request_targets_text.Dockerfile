# one is the first
FROM busybox AS one
# two is the second
FROM one AS two
FROM scratch
