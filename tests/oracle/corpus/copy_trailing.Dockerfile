FROM busybox
COPY a/ b/ c/
COPY ./ ./
COPY / /
