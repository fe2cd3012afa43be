FROM busybox AS base
ONBUILD RUN echo trigger
ONBUILD COPY . /src
RUN own
FROM base
RUN child
