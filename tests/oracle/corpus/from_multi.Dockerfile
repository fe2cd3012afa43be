FROM busybox AS build
RUN make
FROM alpine
COPY --from=build /out /bin/
CMD ["app"]
