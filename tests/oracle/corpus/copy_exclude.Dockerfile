FROM busybox
COPY --exclude=*.md --exclude=tmp/** . /d
ADD --exclude=x . /e
