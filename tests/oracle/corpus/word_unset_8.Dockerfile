FROM busybox
COPY <<${NO} /x
y
${NO}
RUN x
