FROM busybox AS s0
RUN echo 0
COPY f0 /
FROM busybox AS s1
RUN echo 1
COPY f1 /
FROM busybox AS s2
RUN echo 2
COPY f2 /
FROM busybox AS s3
RUN echo 3
COPY f3 /
FROM busybox AS s4
RUN echo 4
COPY f4 /
FROM busybox AS s5
RUN echo 5
COPY f5 /
FROM busybox AS s6
RUN echo 6
COPY f6 /
FROM busybox AS s7
RUN echo 7
COPY f7 /
FROM busybox AS s8
RUN echo 8
COPY f8 /
FROM busybox AS s9
RUN echo 9
COPY f9 /
FROM busybox AS s10
RUN echo 10
COPY f10 /
FROM busybox AS s11
RUN echo 11
COPY f11 /
FROM alpine
COPY --from=s0 /x0 /
COPY --from=s1 /x1 /
COPY --from=s2 /x2 /
COPY --from=s3 /x3 /
COPY --from=s4 /x4 /
COPY --from=s5 /x5 /
COPY --from=s6 /x6 /
COPY --from=s7 /x7 /
COPY --from=s8 /x8 /
COPY --from=s9 /x9 /
COPY --from=s10 /x10 /
COPY --from=s11 /x11 /
RUN --mount=from=s3,target=/a --mount=from=s5,target=/b true
