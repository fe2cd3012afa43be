FROM schema1
RUN x
