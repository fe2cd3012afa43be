FROM onbuildfrom
RUN after
