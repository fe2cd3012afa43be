FROM busybox
COPY --from=src a /a
COPY --from=src b/c /b
RUN --mount=from=src,source=d,target=/d x
