FROM busybox
ARG X=a*b/c.[d]
ENV E=${X:+a$X}
WORKDIR /${X:+a$X}
COPY ${X:+a$X} /x
