FROM busybox
ARG X=a*b/c.[d]
ENV E=<< EOF
WORKDIR /<< EOF
COPY << EOF /x
