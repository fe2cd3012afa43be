FROM busybox
MAINTAINER Me <me@example.org> & co
