FROM busybox
COPY --parents e\\*/f g\\[/h /x/
