FROM busybox
ARG X=a*b/c.[d]
ENV E=${X/a\/b/c}
WORKDIR /${X/a\/b/c}
COPY ${X/a\/b/c} /x
