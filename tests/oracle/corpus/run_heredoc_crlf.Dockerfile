FROM busybox
RUN <<EOF
echo a
echo b
EOF
