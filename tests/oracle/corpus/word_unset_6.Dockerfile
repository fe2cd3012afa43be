FROM busybox
COPY <<${NO?a} /x
y
${NO?a}
RUN x
