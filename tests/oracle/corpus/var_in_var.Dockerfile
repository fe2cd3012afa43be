FROM busybox
ENV A=x B=${A:-${C:-deep}} D=${NO:-${A}y} E=${NO:-'q q'} F=${NO:+${A}}
