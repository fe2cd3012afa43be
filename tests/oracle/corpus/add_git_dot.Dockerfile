FROM busybox
ADD ./r.git ../s.git github.com/o/r github.com/o/%zz /d/
