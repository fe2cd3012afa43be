# check=skip=FromAsCasing;experimental=CopyIgnoredFile

# bar this is
ARG foo=bar
FROM busybox as B
RUN a
