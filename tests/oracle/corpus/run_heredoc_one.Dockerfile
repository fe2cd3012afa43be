FROM busybox
RUN <<EOF
echo single
EOF
