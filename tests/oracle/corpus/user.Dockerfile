FROM busybox
USER me
USER me:grp
ARG U=v
USER $U
