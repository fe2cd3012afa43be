FROM busybox
COPY <<${NO/a/b} /x
y
${NO/a/b}
RUN x
