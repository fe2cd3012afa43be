FROM busybox
ARG T=/cc
ENV U=9
RUN --mount=type=cache,target=$T,uid=$U a
RUN --mount=type=$TYPE,target=/x b
