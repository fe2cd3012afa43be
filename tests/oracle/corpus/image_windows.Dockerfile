FROM win
RUN dir
WORKDIR foo
COPY a b
WORKDIR C:\\bar
COPY a c:\\x\\
CMD dir
