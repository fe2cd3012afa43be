FROM busybox as x
RUN a
from alpine AS y
