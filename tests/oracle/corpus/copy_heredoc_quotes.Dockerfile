FROM busybox
ENV N="a b"
COPY <<EOF /a
"$N" '$N' \$N \\ \" ${N}
EOF
