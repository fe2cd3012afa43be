FROM busybox
ARG X=a
RUN --mount=from=$X,target=/x y
