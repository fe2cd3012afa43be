# bar this is
ARG foo=bar
FROM busybox as B
run a
