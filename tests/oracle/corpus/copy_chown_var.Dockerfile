FROM busybox
ARG U=me
COPY --chown=$U:${G:-0} a /
