FROM busybox
COPY ["a b","c", "/d e/"]
