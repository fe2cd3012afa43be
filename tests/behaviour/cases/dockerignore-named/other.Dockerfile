FROM scratch
COPY . /
LABEL from=other
