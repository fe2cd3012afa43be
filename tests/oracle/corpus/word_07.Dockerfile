FROM busybox
ARG X=a*b/c.[d]
ENV E=${}
WORKDIR /${}
COPY ${} /x
