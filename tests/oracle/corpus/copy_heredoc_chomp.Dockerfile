FROM busybox
COPY <<-EOF /x
	tab
		two
EOF
