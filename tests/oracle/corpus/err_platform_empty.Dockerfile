FROM --platform=$TARGETPLATFRM busybox
