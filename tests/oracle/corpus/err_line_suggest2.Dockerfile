FROM busybox
run x
expoze 1
