FROM busybox
ENV TARGETPLATFORM=not/a/real/platform/x
RUN a
