FROM src
RUN x
