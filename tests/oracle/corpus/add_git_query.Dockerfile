FROM busybox
ADD https://example.com/r.git?ref=v1&subdir=x /a
ADD https://example.com/r.git?tag=t1 /b
ADD https://example.com/r.git?branch=b1&submodules=false&keep-git-dir=true /c
ADD https://example.com/r.git?ref=x&checksum=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa /d
ADD https://example.com:8443/a/b/r.git?mtime=commit&fetch-by-commit=1&checksum=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb /e
