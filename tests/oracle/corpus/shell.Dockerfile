FROM busybox
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN a | b
CMD x
SHELL ["cmd"]
RUN y
