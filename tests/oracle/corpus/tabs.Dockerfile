FROM	busybox	AS	x
RUN	a	b
ENV	A=1	B=2
