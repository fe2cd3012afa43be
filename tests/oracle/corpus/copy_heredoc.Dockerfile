FROM busybox
COPY <<EOF /etc/conf
key=$HOME
v=${X:-d}
EOF
