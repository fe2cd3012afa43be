FROM busybox
ARG X=a*b/c.[d]
ENV E=${X/a
WORKDIR /${X/a
COPY ${X/a /x
