FROM busybox
COPY << EOF /x
EOF
RUN <<	EOF
y
EOF
