FROM osfeatures
RUN a
