FROM busybox
COPY a /
ADD sub/b /
COPY c .
COPY --from=alpine a /
COPY . .
