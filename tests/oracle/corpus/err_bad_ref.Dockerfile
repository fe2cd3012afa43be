FROM Busy_Box:UP@x
RUN x
