FROM --platform=linux/foo/bar/baz busybox
