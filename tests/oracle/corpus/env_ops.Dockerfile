FROM busybox
ENV P=/a/b/c.tar.gz E=
ENV A=${P#*/} B=${P##*/} C=${P%.*} D=${P%%.*} F=${P/a/x} G=${P//a/x} H=${E:-d} I=${E-d} J=${E:+d} K=${E+d} L=\$P M=\${P} N="\$P"
RUN echo ${P#*/} $A
