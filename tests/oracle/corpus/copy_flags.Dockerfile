FROM busybox
ARG E=*.md
COPY --exclude=$E --exclude=**/x --parents --link=true --chown=3 --chmod=a+x a/./b /c/
COPY --parents=false --link=false a b
