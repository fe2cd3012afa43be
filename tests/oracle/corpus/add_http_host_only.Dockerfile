FROM busybox
ADD http://example.com?x=y /a
ADD http://example.com/#frag /b
ADD http://example.com/a/b/../c /d
