FROM busybox
COPY <<"E F" /x
a
E F
COPY <<"" /y

RUN x
