FROM busybox
COPY --link a /
COPY --link --chown=1:2 b /
COPY --link --chmod=600 c /
RUN z
