FROM busybox
ARG a b=
