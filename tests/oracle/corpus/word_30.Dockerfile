FROM busybox
ARG X=a*b/c.[d]
ENV E=${X:-${Y:-z}}
WORKDIR /${X:-${Y:-z}}
COPY ${X:-${Y:-z}} /x
