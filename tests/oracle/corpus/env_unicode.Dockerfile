FROM busybox
ENV G=Grüße E="😀 <&>" C="a\tb"
LABEL k="ü\"q\""
CMD echo "<ü>" & x
RUN echo ü
