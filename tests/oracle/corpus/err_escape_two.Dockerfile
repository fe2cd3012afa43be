# escape=xy
FROM busybox
