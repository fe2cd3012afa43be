FROM --platform=linux/arm64 alpine AS arm
RUN a
FROM --platform=linux/amd64 alpine AS amd
RUN b
COPY --from=arm /x /
