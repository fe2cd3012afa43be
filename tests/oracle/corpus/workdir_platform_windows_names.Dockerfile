FROM busybox
WORKDIR C:\\foo
COPY a C:\\bar
