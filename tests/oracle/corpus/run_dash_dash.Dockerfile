FROM busybox
RUN --network=none -- echo a
COPY --link -- a b
FROM busybox
RUN -- x
