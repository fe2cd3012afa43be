FROM src
COPY --from=src a b
