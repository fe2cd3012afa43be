FROM busybox
LABEL a=1
LABEL "quoted key"="v" multi="line \
cont"
LABEL b=$HOME c=${PATH}
LABEL old value
