FROM busybox
RUN --mount=type=cache,target=/c <<EOF
ls
EOF
