FROM busybox
ADD github.com/foo/bar /a
COPY github.com/foo/bar /b
ADD ./x.git /c
ADD foo/bar.git /d
