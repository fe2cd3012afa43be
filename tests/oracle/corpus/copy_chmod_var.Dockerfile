FROM busybox
ARG M=0700
COPY --chmod=$M a b
COPY --chmod=u=rwX,go+r a b
ADD --chmod=${M} https://h.example/a /b
ADD --chmod=4755 https://github.com/o/r.git /b
