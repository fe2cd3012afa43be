# a one
#
# b two
ARG b
FROM busybox
