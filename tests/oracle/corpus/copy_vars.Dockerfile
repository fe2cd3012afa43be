FROM busybox
ENV S=src D=/dst
ARG X=1
COPY $S/${X} $D/
COPY "$S" '$D'
ADD ${S:-a}.tgz ${D%t}x
