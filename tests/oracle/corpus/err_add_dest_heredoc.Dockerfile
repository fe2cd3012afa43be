FROM busybox
ADD a <<EOF
x
EOF
