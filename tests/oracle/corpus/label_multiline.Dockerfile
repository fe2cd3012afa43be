FROM busybox
LABEL a="1" \
  b='2 3' \
  com.example.c=4
