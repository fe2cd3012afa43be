FROM busybox
RUN <<script
#!/bin/sh
  set -e
script
WORKDIR /z
RUN <<-tabs
	#!/bin/sh
	echo t
	tabs
