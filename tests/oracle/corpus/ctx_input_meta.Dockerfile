FROM inp
RUN x
