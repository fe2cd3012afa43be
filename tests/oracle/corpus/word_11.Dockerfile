FROM busybox
ARG X=a*b/c.[d]
ENV E="\$X \" \\ \z"
WORKDIR /"\$X \" \\ \z"
COPY "\$X \" \\ \z" /x
