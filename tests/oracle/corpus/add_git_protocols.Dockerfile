FROM busybox
ADD ssh://git@h.example/r.git /a
ADD git@h.example:r.git#x /b
ADD git://h.example/r /c
ADD ftp://h.example/r.git /d
ADD http://h.example:80/r.git#:s /e
