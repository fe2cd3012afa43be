FROM busybox
CMD   [ "a" , "b" ]   
VOLUME [ "/x" ]
COPY [ "a", "b" ]
