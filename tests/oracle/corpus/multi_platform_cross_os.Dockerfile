FROM --platform=$BUILDPLATFORM alpine AS b
ARG TARGETOS
ARG TARGETVARIANT
RUN build
FROM scratch
COPY --from=b /x /
