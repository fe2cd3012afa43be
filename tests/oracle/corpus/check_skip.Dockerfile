# check=skip=MaintainerDeprecated,JSONArgsRecommended
FROM busybox
MAINTAINER x
CMD y
ENV a b
