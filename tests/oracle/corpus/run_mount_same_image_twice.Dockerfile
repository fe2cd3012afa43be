FROM busybox
RUN --mount=from=alpine,target=/a x
RUN --mount=from=alpine,target=/b y
COPY --from=alpine /z /z
