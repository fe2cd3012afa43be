FROM --platform=linux/arm64 busybox AS a
RUN a
FROM busybox
COPY --from=a /x /y
COPY --from=alpine /z /
RUN --mount=from=alpine,target=/q x
