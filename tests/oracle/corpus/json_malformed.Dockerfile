FROM busybox
CMD ['a','b']
ENTRYPOINT ["a", b]
RUN ["x" ]x
SHELL ["s"]
