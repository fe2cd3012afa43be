FROM busybox
COPY --parents a/*/b ./c/./d* e\*/f g/./h/i /x/
COPY --parents ./a?b [ab]/c /x/
