FROM busybox
ARG X=
ENV E=${X:?}
