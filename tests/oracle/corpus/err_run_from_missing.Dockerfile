FROM busybox
RUN --mount=from=alpne,target=/x true
