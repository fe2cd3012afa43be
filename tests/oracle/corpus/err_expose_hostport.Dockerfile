FROM busybox
EXPOSE 1.2.3.4:x:80
