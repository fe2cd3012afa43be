# nothing=1
# escape=`
FROM busybox
RUN a `b
