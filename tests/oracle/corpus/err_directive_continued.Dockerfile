FROM busybox
RUN a \
# escape=`
b
