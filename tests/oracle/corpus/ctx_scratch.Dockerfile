FROM foo
COPY a b
