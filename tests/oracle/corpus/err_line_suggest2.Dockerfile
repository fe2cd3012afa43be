FROM busybox
run x
cp a b
