FROM --platform=${a busybox
