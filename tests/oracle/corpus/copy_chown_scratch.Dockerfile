FROM scratch
COPY --chown=1:2 a /
COPY --chown=n a /
