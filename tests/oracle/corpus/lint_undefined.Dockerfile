FROM busybox
ARG known
RUN x
COPY $knwn /a
ENV A=$UNDEF
WORKDIR $PAHT
LABEL l=$known
