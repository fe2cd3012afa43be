FROM busybox AS s
RUN s
FROM alpine
RUN --mount=from=s,target=/x,src=/deep/dir,readonly=false a
RUN --mount=type=bind,from=s,dst=/y,source=file,ro b
