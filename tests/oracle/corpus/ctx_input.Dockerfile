FROM inp
RUN x
COPY --from=inp /a /b
