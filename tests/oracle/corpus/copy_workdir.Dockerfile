FROM busybox
WORKDIR /w
COPY a b
COPY a ./
COPY a .
COPY a /abs/
COPY a sub/.
COPY a ..
