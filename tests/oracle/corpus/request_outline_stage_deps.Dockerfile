ARG G=1
FROM busybox AS one
ARG A=1
RUN --mount=type=secret,id=s1 x
FROM one AS two
ARG B
COPY --from=one /a /b
RUN --mount=from=three,target=/m --mount=type=ssh x
FROM busybox AS three
ARG C
RUN --mount=type=cache,target=/c y
