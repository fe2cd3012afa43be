# nothing here
ARG b c
# d is fine
ARG d
# wrong text
FROM busybox AS e
