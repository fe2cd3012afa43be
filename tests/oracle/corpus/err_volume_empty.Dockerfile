FROM busybox
ENV V=
VOLUME [""]
