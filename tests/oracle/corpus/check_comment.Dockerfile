FROM busybox
# check=skip=JSONArgsRecommended
CMD y
# check=skip=all
WORKDIR z
ENTRYPOINT q
