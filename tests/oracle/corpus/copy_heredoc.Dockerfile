FROM busybox
COPY <<EOF /etc/conf
key=$HOME
v=d
EOF
COPY <<EOF /etc/conf2
v=${X:-d}
EOF
