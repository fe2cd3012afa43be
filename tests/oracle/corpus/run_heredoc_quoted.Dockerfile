FROM busybox
RUN <<"EOF"
echo "$HOME" \n
EOF
