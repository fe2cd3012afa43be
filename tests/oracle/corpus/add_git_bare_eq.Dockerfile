FROM busybox
ADD https://github.com/o/r.git?submodules=&keep-git-dir=&fetch-by-commit= /
