FROM win
COPY a D:/x
