FROM busybox
COPY --chmod=755 a /
COPY --chmod=0644 a /
COPY --chmod=7777 a /
COPY --chmod=u+x,g-w,o=r a /
COPY --chmod=a=rwX a /
ARG M=600
COPY --chmod=$M a /
COPY --chmod=0 a /
