FROM busybox
ARG X=a*b/c.[d]
ENV E="a\"
WORKDIR /"a\"
COPY "a\" /x
