FROM alpine AS base
RUN a
FROM base
RUN b
