FROM busybox as b
copy x y
RUN x
RUN y
