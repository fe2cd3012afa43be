FROM busybox
RUN cat <<"A
zzzzzz
