FROM onbuild
ARG TARGET=all
