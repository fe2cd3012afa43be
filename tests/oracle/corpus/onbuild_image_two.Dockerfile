FROM onbuildtwo
RUN x
