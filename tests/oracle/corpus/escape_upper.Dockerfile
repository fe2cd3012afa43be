#ESCAPE=`
FROM busybox
ENV A=a`
 B=2
