FROM badwd
RUN a
