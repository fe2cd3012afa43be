FROM busybox
RUN --mount=type=secret,id=AWS,env=AWS_KEY --mount=type=secret,id=b,required=true echo ${AWS_KEY} $b
