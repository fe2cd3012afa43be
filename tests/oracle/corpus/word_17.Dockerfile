FROM busybox
ARG X=a*b/c.[d]
ENV E=${X/\//-}
WORKDIR /${X/\//-}
COPY ${X/\//-} /x
