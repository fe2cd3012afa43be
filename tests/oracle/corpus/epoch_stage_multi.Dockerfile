FROM scratch AS src
ADD https://h.example/x /
FROM busybox
RUN b
COPY --from=src /x /
