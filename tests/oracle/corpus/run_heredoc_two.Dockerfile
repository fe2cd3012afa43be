FROM busybox
RUN cat <<A >/x && cat <<-'B' >/y
a $V
A
	b
	B
