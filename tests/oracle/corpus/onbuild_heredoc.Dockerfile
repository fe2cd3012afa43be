FROM busybox
ONBUILD RUN echo "a  b" && true
ONBUILD HEALTHCHECK CMD x
