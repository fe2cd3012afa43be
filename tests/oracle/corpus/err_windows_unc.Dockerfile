FROM win
COPY a \\\\server\\x
