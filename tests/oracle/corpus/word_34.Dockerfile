FROM busybox
ARG X=a*b/c.[d]
ENV E=a<<b
WORKDIR /a<<b
COPY a<<b /x
