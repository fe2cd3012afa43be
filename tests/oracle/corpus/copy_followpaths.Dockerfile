FROM busybox
COPY a /
COPY b/c d/../e /x/
ADD f /y
RUN --mount=source=g,target=/g x
