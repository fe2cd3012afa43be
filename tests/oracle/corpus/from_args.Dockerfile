ARG V=1.36
ARG IMG=busybox
FROM ${IMG}:${V}
ARG V
RUN echo $V
