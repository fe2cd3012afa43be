FROM busybox
RUN --mount=from=context,target=/a x
