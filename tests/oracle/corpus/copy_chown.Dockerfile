FROM busybox
COPY --chown=1000:1000 a /
COPY --chown=user a /
COPY --chown=user:group a /
COPY --chown=root:0 a /
COPY --chown=5: a /
COPY --chown=:6 a /
COPY --chown=-1 a /
