# syntax=docker/dockerfile:1
ARG a
