FROM busybox
COPY https://example.com/x.git /y
