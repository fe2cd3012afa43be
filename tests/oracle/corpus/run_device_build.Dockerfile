FROM busybox
RUN --device=vendor.com/gpu x
