FROM src
COPY --from=two / /
