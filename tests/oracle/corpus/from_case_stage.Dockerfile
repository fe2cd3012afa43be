FROM busybox AS Build
RUN a
FROM build
RUN b
FROM alpine
COPY --from=BUILD /a /
