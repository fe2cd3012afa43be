FROM --platfrom=x busybox
