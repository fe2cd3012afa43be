FROM busybox
RUN ["a"] <<EOF
x
EOF
