FROM busybox
RUN <<EOF
#!/usr/bin/env python3
print(1)
EOF
