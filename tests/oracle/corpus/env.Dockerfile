FROM busybox
ENV A=1 B="two words" C='single $A' D=a\ b E=$A$B F="$C"
ENV OLD style value here
ENV A=2
ENV X=${A:-z} Y=${NO:-z} Z=${A:+set} W=${NO+set} Q=${A-z}
RUN echo $A
