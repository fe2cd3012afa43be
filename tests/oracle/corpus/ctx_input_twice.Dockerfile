FROM inp
COPY --from=inp /a /b
COPY --from=two /a /b
