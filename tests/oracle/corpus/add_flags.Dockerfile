FROM busybox
ADD --unpack=false a.tar /x
ADD --unpack a.tar https://h.example/a.tar /x/
ADD --keep-git-dir=false https://github.com/o/r.git /y
ADD --keep-git-dir=true https://github.com/o/r.git?keep-git-dir=1 /y
ADD --link --exclude=*.md --chown=1:2 --chmod=644 a b /c/
