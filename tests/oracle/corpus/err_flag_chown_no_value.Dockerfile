FROM busybox
ADD --chown x y
