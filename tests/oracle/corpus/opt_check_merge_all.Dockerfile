# check=skip=FromAsCasing

# bar this is
ARG foo=bar
FROM busybox as B
RUN a
