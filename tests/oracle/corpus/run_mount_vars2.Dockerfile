FROM busybox
ARG T=/cc
ENV U=9
RUN --mount=type=cache,target=${T}/x,id=k-$U,uid=$U a
