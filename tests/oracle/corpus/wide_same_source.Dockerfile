FROM busybox AS s
RUN x
FROM alpine
COPY --from=s /f0 /d0/
COPY --from=s /f1 /d1/
COPY --from=s /f2 /d2/
COPY --from=s /f3 /d3/
COPY --from=s /f4 /d4/
