FROM busybox
ENV D=/d/
COPY a $D
COPY a ${D}x/
WORKDIR /w
COPY a ${NONE}
COPY a ${NONE:-.}
