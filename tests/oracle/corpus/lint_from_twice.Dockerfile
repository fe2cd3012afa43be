ARG A=x
FROM ${AA}busybox AS one
FROM ${AA:-busybox}
RUN $FOO
COPY $USER $LOGNAME $TERM /x/
