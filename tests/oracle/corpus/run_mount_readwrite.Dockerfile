FROM busybox
RUN --mount=target=/a,readwrite --mount=target=/b,rw=true --mount=target=/c,readonly=false --mount=target=/d,ro --mount=target=/e,readwrite=false --mount=type=cache,target=/f,ro --mount=type=cache,target=/g,readwrite=false x
