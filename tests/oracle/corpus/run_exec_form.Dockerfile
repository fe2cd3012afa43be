FROM busybox
RUN ["/bin/echo","a b","$HOME"]
