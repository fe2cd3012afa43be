FROM busybox
ARG X=a*b/c.[d]
ENV E=${X/a/b
WORKDIR /${X/a/b
COPY ${X/a/b /x
