FROM busybox
WORKDIR /a
WORKDIR b
WORKDIR ../c/./d
WORKDIR /
WORKDIR e
ENV D=/dd
WORKDIR $D/${X:-y}
WORKDIR /trailing/
WORKDIR "/with space"
