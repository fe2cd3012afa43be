# escape=`
FROM win
WORKDIR C:\bar\baz
RUN dir C:\a
COPY a\b c:\x\y
ENV A=C:\foo
