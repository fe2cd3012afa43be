FROM busybox
ENV N=1
COPY <<'EOF' /a
$N stays
EOF
COPY <<"E2" b
\$N
E2
