# check=experimental=all
# not matching
ARG foo=bar
# base is x
FROM busybox AS base
RUN x
