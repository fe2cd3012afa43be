FROM busybox
ARG X=a*b/c.[d]
ENV E=${X:?empty here}
WORKDIR /${X:?empty here}
COPY ${X:?empty here} /x
