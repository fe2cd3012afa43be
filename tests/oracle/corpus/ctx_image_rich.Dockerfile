FROM foo
RUN x
