FROM alpin AS x
RUN x
