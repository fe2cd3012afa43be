from busybox AS b
Run x
run y
copy a b
from b as C
