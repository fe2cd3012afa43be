FROM busybox
ARG X=a*b/c.[d]
ENV E=$9a
WORKDIR /$9a
COPY $9a /x
