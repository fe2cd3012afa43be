FROM BusyBox
RUN x
