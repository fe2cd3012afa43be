FROM armonly
RUN a
