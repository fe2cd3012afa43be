FROM nodigest
RUN x
