FROM busybox
RUN <<EOF
x
