FROM busybox
CMD ["a","b c","\"q\"","é\n"]
