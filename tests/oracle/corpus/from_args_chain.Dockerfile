ARG A=1
ARG B=${A}.36
FROM busybox:$B
ARG A
ARG B
RUN echo $A $B
