FROM busybox
ENV F=foo.tar.gz.tar
ENV A=${F%.*} B=${F%%.*} C=${F#*.} D=${F##*.} E=${F/tar/X} G=${F//tar/X} H=${F/#foo/Y} I=${F%\*} J=${F#f?o} K=${F#[f]}
