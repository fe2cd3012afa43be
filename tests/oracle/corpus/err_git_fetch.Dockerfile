FROM busybox
ADD https://h.x/r.git?fetch-by-commit=maybe /a
