FROM busybox
ARG X=a*b/c.[d]
ENV E=${X%'b\*'}
WORKDIR /${X%'b\*'}
COPY ${X%'b\*'} /x
