FROM busybox
ADD http://example.com/a/b.txt /x
ADD https://example.com /y/
ADD https://example.com/p%20q?x=1#f /z/
ADD --chmod=600 --chown=1:1 https://example.com/t/ /q/
