FROM winwd
RUN a
