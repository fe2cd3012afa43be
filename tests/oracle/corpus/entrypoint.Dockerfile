FROM busybox
ENTRYPOINT ["/e"]
CMD ["x"]
