from busybox as x
run a
copy a b
env c=d
workdir /q
