From busybox
Run a
COPY a b
ENV x=1
WorkDir /a
