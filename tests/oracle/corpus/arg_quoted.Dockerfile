FROM busybox
ARG "A=b c" D='e' F="$A"
RUN $A $D $F
