FROM busybox
RUN <<-EOF
	echo tab
		two
EOF
