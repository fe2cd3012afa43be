FROM busybox
ENV A=env
ARG A=arg
RUN echo $A
ENV A=again
RUN echo $A
