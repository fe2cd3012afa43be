FROM busybox
ADD https://github.com/moby/buildkit.git /a
ADD https://github.com/moby/buildkit.git#v0.10.1 /b
ADD https://github.com/moby/buildkit.git#master:sub/dir /c
ADD --keep-git-dir=true https://github.com/moby/buildkit.git#main /d
ADD git://host/path /e
