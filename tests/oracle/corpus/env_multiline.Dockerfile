FROM busybox
ENV A=1 \
    B=2 \
    # comment inside
    C=3
ENV D="x \
 y"
