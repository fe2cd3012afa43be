FROM busybox
COPY *.txt src/**/?.c /dest/
COPY [[]x].txt /y
