FROM onbuildbad
RUN x
