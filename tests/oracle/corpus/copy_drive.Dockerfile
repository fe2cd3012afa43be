FROM busybox
COPY --parents c:/./d /x/
ADD c:x /y
