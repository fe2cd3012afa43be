FROM nope
RUN x
