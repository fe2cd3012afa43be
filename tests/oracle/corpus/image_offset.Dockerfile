FROM offset
RUN x
