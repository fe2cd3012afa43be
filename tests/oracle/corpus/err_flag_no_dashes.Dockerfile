FROM busybox
RUN -network=none x
RUN --=x y
