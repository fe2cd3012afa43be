FROM src
RUN a
