   FROM busybox
	RUN a
  COPY a b
