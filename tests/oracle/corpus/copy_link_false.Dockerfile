FROM busybox
COPY --link=false a /
COPY --link=true b /
