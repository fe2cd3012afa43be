FROM busybox
ARG X=a*b/c.[d]
ENV E=${9}
WORKDIR /${9}
COPY ${9} /x
