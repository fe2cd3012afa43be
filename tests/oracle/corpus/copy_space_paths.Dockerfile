FROM busybox
COPY a\ b /c\ d
COPY "a b" "c d/"
