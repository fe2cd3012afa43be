FROM busybox
ADD https://h.x/r.git?submodules=maybe /a
