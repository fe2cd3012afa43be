FROM busybox
RUN cat 3<<A 4<<-B
a
A
	b
	B
