FROM busybox AS one
RUN --mount=type=secret,id=a --mount=type=secret,id=b x
FROM one AS two
RUN --mount=type=secret,id=a,required y
FROM busybox AS three
ARG A
COPY --from=two a b
ARG A=1
FROM three
ARG A=2
