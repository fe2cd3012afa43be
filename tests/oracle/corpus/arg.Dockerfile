FROM busybox
ARG A
ARG B=b
ARG C="c d" D=$B
ARG E=${B}x F
RUN echo $A $B $C $D $E
ENV Z=$D
LABEL l=$E
