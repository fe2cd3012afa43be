ARG IMAGE=busybox
FROM ${IMAG} AS a
FROM busybox:$TARGETARC
FROM busybox:${NOTHING}
