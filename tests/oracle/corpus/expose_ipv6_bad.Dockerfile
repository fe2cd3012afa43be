FROM busybox
EXPOSE [::1]x:80:80
