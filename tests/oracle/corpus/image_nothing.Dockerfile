FROM nothing
RUN x
