FROM busybox
ARG A=1
ARG B
ARG C=3
ENV C=4
RUN echo $A $B $C
ARG A=2
RUN again
