ARG X=global
FROM busybox AS a
ARG X=local
RUN echo $X
FROM a
RUN echo $X
FROM busybox AS c
ARG X
RUN echo $X
COPY --from=a / /
COPY --from=1 / /
