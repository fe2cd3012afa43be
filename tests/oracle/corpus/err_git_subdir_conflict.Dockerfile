FROM busybox
ADD https://h.x/r.git?subdir=a#b:c /a
