# c1

# c2
FROM busybox
# c3
RUN a
   # indented
RUN b # not a comment
