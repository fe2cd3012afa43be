FROM busybox
RUN python3 <<EOF
print(2)
EOF
