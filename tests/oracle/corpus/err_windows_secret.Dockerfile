FROM win
RUN --mount=type=secret,id=x y
