FROM busybox
EXPOSE [::1]:80:80 [::1]::81 [::1:80
