FROM busybox
ADD https://h.example/a https://h.example/b https://github.com/o/r.git https://github.com/o/s.git c /d/
