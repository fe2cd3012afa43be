ARG A=busybox
ARG B=A
FROM ${A:+alpine}
RUN x
