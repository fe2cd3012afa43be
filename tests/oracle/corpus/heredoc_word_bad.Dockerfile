FROM busybox
RUN cat <<${
zzzzzz
