FROM busybox
ARG X=
ENV E=${X:?must be $PATH}
