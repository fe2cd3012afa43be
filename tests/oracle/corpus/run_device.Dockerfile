FROM busybox
RUN --device=vendor.com/class=name a
RUN --device=vendor.com/class=b,required b
RUN --device=name=vendor.com/gpu=all,required=false c
