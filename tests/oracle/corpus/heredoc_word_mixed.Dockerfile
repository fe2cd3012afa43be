FROM busybox
RUN cat <<A"B"C <<\D
a
ABC
b
D
