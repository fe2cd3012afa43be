FROM busybox
ADD --unpack=false a.tar /x
ADD --unpack=true http://example.com/a.tar /y
ADD --unpack a /z
