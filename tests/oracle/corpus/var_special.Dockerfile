FROM busybox
ENV FOO=bar
RUN echo $FOO ${FOO} "$FOO" '$FOO' \$FOO $(cmd $FOO) `x` $$ ${FOO:-x} ${UNSET} $UNSET "${FOO}"
COPY a$FOO "b $FOO" '$FOO'/ /d/
