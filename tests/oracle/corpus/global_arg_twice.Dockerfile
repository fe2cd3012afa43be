ARG A=1
ARG A=${A}2
ARG B=${A} A=3
FROM busybox
ARG A B
RUN echo $A$B
