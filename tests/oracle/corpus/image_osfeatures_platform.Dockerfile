FROM --platform=linux/amd64 osfeatures
RUN a
