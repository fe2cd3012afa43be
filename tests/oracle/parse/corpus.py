# SPDX-License-Identifier: Apache-2.0
"""Cases of our own writing; compare.py mutates them."""

DOCKERFILES = [d.encode() for d in [
    "FROM scratch\n",
    "",
    "# only a comment\n",
    "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN echo `\n  b\nCOPY x` y /z\n",
    "# escape=\\\n# escape=\\\nFROM a\n",
    "# escape=x\nFROM a\n",
    "#syntax = a b  \n# check=skip=all;error=true\n\n# a comment\nFROM x AS y\n",
    "\ufeff# syntax=a\nFROM b\n",
    "ARG V=1\nARG W\nFROM base:${V} as Build\nRUN make\nFROM build\nCOPY --from=build /a /b\n",
    "from a as B\nrun x\nFROM c As d\n",
    "FROM --platform=$BUILDPLATFORM golang AS b.u_i-ld\nWORKDIR /src\n",
    "FROM a b\n", "FROM\n", "FROM a as 1x\n", "FROM a AS b c\n", "FROM --foo=1 a\n", "FROM --platfrom=x a\n", 
    "RUN x\n", "ARG X\n", "FRM a\n", "FROM a\nRUNN x\n", "FROM a\nrnu x\n", "FROM a\nWORKDR /\n", "foo\n", "FROM a\nCmdd x\n",
    "FROM a\nRUN echo a \\\n  b \\\n\n  # comment\n  c\nCMD d\n",
    "FROM a\nRUN echo a \\\n",
    "FROM a\nRUN echo a \\ \t \n && b\n",
    "FROM a\nRUN a \\\\\nRUN b\n",
    "FROM a\nRUN \\\n\\\n  x\n",
    "\\\nFROM a\n", "\\\n\n\n", "FROM a\r\nRUN x \\\r\n  y\r\nENV a=b\r\n",
    "FROM a\nRUN <<EOF\necho 1\n  echo 2\nEOF\nRUN b\n",
    "FROM a\nRUN <<-EOF\n\techo 1\n\tEOF\n",
    "FROM a\nRUN <<EOF cat - <<'E2' > /x\na\nEOF\n$b\nE2\n",
    "FROM a\nRUN 3<<EOF cmd 3<<EOF\nx\nEOF\n",
    "FROM a\nRUN <<EOF\nno end\n",
    "FROM a\nRUN << EOF\nspace\nEOF\n",
    "FROM a\nRUN echo \"<<EOF\" '<<E' a<<b <<<c\nRUN x\n",
    "FROM a\nRUN [\"x\", \"<<EOF\"]\n",
    "FROM a\nCOPY <<EOF <<-\"E2\" b /dest/\n$A x\nEOF\n\ty $B\n\tE2\n",
    "FROM a\nCOPY <<EOF /x\n${A} \"$B\" '\\$A' \\n ${N:+y}\nEOF\n",
    "FROM a\nCOPY a <<EOF\nx\nEOF\n", "FROM a\nADD [\"<<EOF\", \"/x\"]\nEOF\n",
    "FROM a\nADD <<\"my file\" /x\ny\nmy file\n", "FROM a\nADD <<E\"O\"F /x\n$A\nEOF\n",
    "FROM a\nONBUILD RUN <<EOF\nx\nEOF\nONBUILD  COPY <<-A <<B /d\n\tq\n\tA\nr\nB\n",
    "FROM a\nONBUILD ONBUILD RUN x\n", "FROM a\nONBUILD FROM b\n", "FROM a\nONBUILD maintainer b\n", "FROM a\nONBUILD\n",
    "FROM a\nONBUILD ENV a b\nonbuild  CMD [\"a\"]\nONBUILD --x RUN y\n", "FROM a\nONBUILD  nonsense x\n",
    "FROM a\nENV a=b c=\"d e\" f='g h' i=j\\ k l=\"\\\"m\\\"\"\nENV n o p\nENV q= r=\"\"\n",
    "FROM a\nENV a\n", "FROM a\nENV\n", "FROM a\nENV a=b c\n", "FROM a\nENV =b\n", "FROM a\nENV a=$A b=${B} c=${EMPTY:-x}\n",
    "FROM a\nLABEL a=b \"c d\"=\"e $A\" f='$A'\nLABEL x y z\nLABEL \"a b\" c\n", "FROM a\nLABEL\n", "FROM a\nLABEL a=b c\n",
    "FROM a\nARG a b=c d=\"e f\" g=$A\nARG h=\nARG\n", "FROM a\nARG =x\n", "FROM a\nARG a=b=c \"d=e f\"\n",
    "# a the first\n# b c\nARG a=1\n# build makes it\nFROM x AS build\n# wrong one\nARG p q\n\n#\nARG r\n",
    "FROM a\nWORKDIR /a b\nWORKDIR $A/x\nWORKDIR\n", "FROM a\nUSER root:root\nUSER $A\nUSER a b\nUSER\n", "FROM a\nUSER --x y\n",
    "FROM a\nEXPOSE 80/tcp 443 8080/UDP\nEXPOSE $A-2\nEXPOSE\n", "FROM a\nVOLUME /a /b\nVOLUME [\"/c d\", \"$A\"]\nVOLUME\n",
    "FROM a\nVOLUME [\"\"]\n", "FROM a\nVOLUME [\" /x \"]\n",
    "FROM a\nCMD x y\nCMD [\"x\", \"y\"]\nCMD\nCMD []\nENTRYPOINT\nENTRYPOINT []\nENTRYPOINT [\"a\\u0041\\n\\/\"]\nENTRYPOINT a\n",
    "FROM a\nCMD [1]\n", "FROM a\nCMD [\"a\", [\"b\", {\"c\": null}]]\n", "FROM a\nCMD [ \"a\" \n", "FROM a\nCMD ['a']\n", "FROM a\nCMD [\"a\",]\n",
    "FROM a\nCMD [\"\\ud83d\\ude00 \\ud800 \\udc00x\"]\n", "FROM a\nCMD [\"a\", 1e999]\n", "FROM a\nCMD [\"a\"] b\n", "FROM a\nRUN [ -f x ] && y\n",
    "FROM a\nCMD --x a\n", "FROM a\nCMD -- a\n", "FROM a\nRUN -- a\n", "FROM a\nENTRYPOINT --foo=bar [\"a\"]\n",
    "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD curl x\nHEALTHCHECK cmd [\"a\", \"b\"]\nHEALTHCHECK --interval=5s --timeout=1m30s --start-period=2h --start-interval=1.5s --retries=3 CMD x\n",
    "FROM a\nHEALTHCHECK\n", "FROM a\nHEALTHCHECK NONE x\n", "FROM a\nHEALTHCHECK FOO x\n", "FROM a\nHEALTHCHECK CMD\n", "FROM a\nHEALTHCHECK --interval=5 CMD x\n",
    "FROM a\nHEALTHCHECK --interval=5x CMD x\n", "FROM a\nHEALTHCHECK --interval=1us CMD x\n", "FROM a\nHEALTHCHECK --retries=-1 CMD x\n",
    "FROM a\nHEALTHCHECK --retries=x CMD x\n", "FROM a\nHEALTHCHECK --retries=99999999999 CMD x\n", "FROM a\nHEALTHCHECK --intervl=1s CMD x\n",
    "FROM a\nHEALTHCHECK --interval= CMD x\n", "FROM a\nHEALTHCHECK --interval=-1s CMD x\n", "FROM a\nHEALTHCHECK --timeout=99999999h CMD x\n", "FROM a\nHEALTHCHECK --timeout=0 CMD x\n",
    "FROM a\nHEALTHCHECK --timeout=.s CMD x\n", "FROM a\nHEALTHCHECK --timeout=1.5.5s CMD x\n", "FROM a\nHEALTHCHECK --timeout=+1s\u00b5 CMD x\n",
    "FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nSHELL x\n", "FROM a\nSHELL []\n", "FROM a\nSHELL\n",
    "FROM a\nSTOPSIGNAL SIGTERM\nSTOPSIGNAL $A\nSTOPSIGNAL --x 9\n", "FROM a\nSTOPSIGNAL\n", "FROM a\nMAINTAINER me <m@x>\n", "FROM a\nMAINTAINER\n",
    "FROM a\nCOPY a\n", "FROM a\nCOPY\n", "FROM a\nCOPY --chown=1:2 --chmod=0755 --link --parents --exclude=*.md --exclude=x --from=b a b /c\n",
    "FROM a\nCOPY --link=false --parents=TRUE a b\n", "FROM a\nCOPY --link= a b\n", "FROM a\nCOPY --link=yes a b\n", "FROM a\nCOPY --chown a b\n",
    "FROM a\nCOPY --chown=a --chown=b c d\n", "FROM a\nCOPY --form=a b c\n", "FROM a\nCOPY --lnk a b\n", "FROM a\nCOPY --chown=$A:${B} --chmod=$N $A \"$B\" /x/${A}\n",
    "FROM a\nADD --checksum=sha256:$A --keep-git-dir --unpack=false --link --exclude=a http://x/y /z\n", "FROM a\nADD --from=x a b\n", "FROM a\nADD --unpak a b\n",
    "FROM a\nCOPY [\"a b\", \"c\", \"/d e\"]\nCOPY 'a b' \"c d\" e\\ f\nCOPY --exclude=\"a b\" x y\nCOPY --exclude=\\\"x --chown=\u00fc a b\n",
    "FROM a\nRUN --mount=type=cache,target=/c,id=x,sharing=locked,mode=0755,uid=1,gid=2,from=b,source=/s x\n",
    "FROM a\nRUN --mount=type=bind,target=/x,rw --mount=type=tmpfs,target=/t,size=1.5g --mount=type=secret,id=s,env=S,required --mount=type=ssh,id=k,mode=0600 --mount=target=/y x\n",
    "FROM a\nRUN --mount=type=$TYPE,target=/$A,mode=$N x\n", "FROM a\nRUN --mount=from=$A,target=/x x\n", "FROM a\nRUN --mount=from=a$,target=/x x\n",
    "FROM a\nRUN --mount=type=foo x\n", "FROM a\nRUN --mount=type=cach,target=/x x\n", "FROM a\nRUN --mount=type=cache,sharing=lock,target=/x x\n",
    "FROM a\nRUN --mount=type=bind,sharing=locked,target=/x x\n", "FROM a\nRUN --mount=type=bind,mode=1 x\n", "FROM a\nRUN --mount=type=tmpfs,uid=1 x\n", "FROM a\nRUN --mount=type=bind,gid=1 x\n",
    "FROM a\nRUN --mount=type=bind,required x\n", "FROM a\nRUN --mount=required=true,type=secret,id=x x\n", "FROM a\nRUN --mount=type=secret x\n", "FROM a\nRUN --mount=type=secret,id=a,source=b x\n",
    "FROM a\nRUN --mount=type=secret,id=a,from=b x\n", "FROM a\nRUN --mount=type=secret,id=a,sharing=shared x\n", "FROM a\nRUN --mount=type=secret,id=a,required=maybe x\n",
    "FROM a\nRUN --mount=type=cache,size=1 x\n", "FROM a\nRUN --mount=type=tmpfs,size=x x\n", "FROM a\nRUN --mount=type=tmpfs,size=10MiB x\n", "FROM a\nRUN --mount=type=tmpfs,size=10xx x\n", "FROM a\nRUN --mount=type=cache,mode=8 x\n",
    "FROM a\nRUN --mount=type=cache,uid=-1 x\n", "FROM a\nRUN --mount=type=cache,gid=4294967296 x\n", "FROM a\nRUN --mount=foo x\n", "FROM a\nRUN --mount=tarrget=/x x\n", "FROM a\nRUN --mount=ro=x x\n",
    "FROM a\nRUN --mount=type=cache,rw=false,target=x x\n", "FROM a\nRUN --mount= x\n", "FROM a\nRUN --mount x\n", "FROM a\nRUN --mount='\"type=cache\",\"target=/a,b\"' x\n", "FROM a\nRUN --mount=a\\\"b x\n", "FROM a\nRUN --mount='\"a' x\n",
    "FROM a\nRUN --mount='\"a\"b' x\n", "FROM a\nRUN --mount=target=${A:?x},src=${Q:?gone} x\n",
    "FROM a\nRUN --network=none --security=insecure x\nRUN --network=bridge x\n", "FROM a\nRUN --security=foo x\n", "FROM a\nRUN --network= x\n", "FROM a\nRUN --network=host --network=none x\n",
    "FROM a\nRUN --device=nvidia.com/gpu=all --device=name=x,required --device=required=false,y x\n", "FROM a\nRUN --device=a,b x\n", "FROM a\nRUN --device=a,requird=1 x\n", "FROM a\nRUN --device=a,name=b x\n", "FROM a\nRUN --device=a,required=x x\n", "FROM a\nRUN --device= x\n",
    "FROM a\nRUN --foo x\n", "FROM a\nRUN --mout=x y\n", "FROM a\nRUN\n", "FROM a\nRUN []\n", "FROM a\nRUN C:\\a \\$X\n",
    "FROM a\n   RUN indented   \n\tCMD x\n", "FROM\u00a0a\n\u3000RUN x\n", "FROM a\n# c1\n# c2\n\n\nRUN x\n  # c3\n  #\n#c4\nRUN y\n",
    "# check=skip=MaintainerDeprecated\nFROM a\n# check=skip=MaintainerDeprecated;experimental=all\nMAINTAINER x\nMAINTAINER y\n# check=bad\nMAINTAINER z\n# check=skip=all\nMAINTAINER w\n",
    "FROM a\nRUN echo hello # not a comment\nRUN echo \\\n# comment\n# another\nworld\n",
    "FROM a\nRUN " + "x" * 70000 + "\n", "FROM a\n" + "RUN y \\\n" * 3 + "z" * 65535, "FROM a\nRUN " + "q" * 65531, "FROM a\nRUN " + "q" * 65531 + "\n", "FROM a\nRUN <<E\n" + "x" * 66000 + "\nE\n",
    "x" * 66000,
]] + [b"FROM a\nENV x=\xff\xfe y=\xc3\nLABEL \xe2\x80\xa8=b\nRUN \xff\nCMD [\"\xff\"]\nCOPY --chown=\xff a b\n", b"FROM a\nRUN \x01\x02\nENV a=\x7f\n"]

SYNTAX = [s.encode() for s in [
    "# syntax=docker/dockerfile:1\n", "#!/bin/sh\n# syntax = a b c\n", "\ufeff#syntax=x", "// syntax=foo\n", "//check=skip=all\n//syntax=a", '{"syntax": "a b"}', ' {"a": 1, "syntax": "x"} ', '{"syntax": 1}', '{"syntax": "x"} y',
    "# escape=`\n# syntax=y\n", "# foo\n# syntax=y\n", "# syntax=\n", "# syntax=   \n", "# SYNTAX=y\r\n# Check= skip=A ; error=true \r\n", "# syntax=a\n# syntax=b\n", "# escape=a\n# escape=b\n# syntax=c\n", "#!x\n{\"syntax\":\"q\"}", "#!x", "{", "# a1=b\n",
    "# check=error=true\n# syntax = x=y\n", "#syntax =x\n", "# syntax\n", "\n# syntax=a\n", "\ufeff#!a\n#syntax=b",
]]

LINT = [s.encode() for s in [
    "", "skip=all", "skip=A,B", "skip= A , B ;error=true", "error=x", "experimental=all;skip=all;error=1", "foo", "foo=bar", "skip=A;error=true;experimental=X;more=y", "skip=", " skip=a;", ";", "error=true;error=false", "skip=all;skip=A",
]]

ENV = [e.encode() for e in [
    "a=x", "foo=bar", "empty=", "sp=one two  three", "path=/a/b/c.tar.gz", "star=a*b*c", "uni=äöü日本", "q=it's \"q\"", "dollar=$1 ${0} $$", "nl=l1\nl2\nl2", "esc=a\\b", "rep=aaa", "1=one", "12=twelve", "é=acute", "lead= x", "dot=a.b.c",
]]

WORDS = [w.encode() for w in [
    "", "hello", "$a", "${a}", "$$", "$", "${", "${a", "${}", "${{a}", "${:a}", "${a:}", "a$foo.b", "$foo$foo", "$nope", "${nope}", "$12", "$1x", "$@", "${@}", "$?x", "${?}", "$é", "${é}", "$ax", "${ax}b",
    "${a:-w}", "${nope:-w x}", "${nope-w}", "${empty:-w}", "${empty-w}", "${a:+w}", "${nope:+w}", "${empty:+w}", "${empty+w}", "${a+w}", "${a:?m}", "${nope:?m}", "${nope?}", "${nope:?}", "${empty:?}", "${empty?x}", "${empty:?a b}",
    "${nope:-${a:-b}}", "${nope:-${nope:-${nope:-deep}}}", "${nope:-$sp}", "x${nope:-y}z", "ab${nope:-y w}c d", "a b$sp c", "$sp", "'$sp' x", "\"$sp\" x", "${nope:-'q r'}", "${nope:-\"a}b\"}", "${nope:-a\\}b}", "${nope:-\\$a}",
    "${path#*/}", "${path##*/}", "${path%.*}", "${path%%.*}", "${path#/a}", "${path%gz}", "${path:#a}", "${path:%a}", "${path#", "${path#}", "${path%}", "${path##}", "${star#a\\*}", "${star%\\*c}", "${uni#?}", "${uni%??}", "${uni##*日}", "${empty#x}", "${nope#x}",
    "${path/a/b}", "${path//a/b}", "${path/a}", "${path/a/", "${path//\\//-}", "${path/\\/a/x}", "${rep/a/b}", "${rep//a/b}", "${rep//a*/b}", "${rep//?/[$foo]}", "${rep//a/\\$x}", "${rep//a/$dollar}", "${rep/a/$dollar}", "${rep///x}", "${rep//*/x}", "${nl//l2/x}", "${nl/l*2/x}", "${dot//./-}", "${dot//\\./-}", "${dot//[a]/-}", "${dot/+(x)|^y$/z}", "${nope/a/b}", "${path/'a'/b}", "${path/\"/a\"/b}",
    "${esc#a\\\\}", "${esc/\\\\/x}", "${esc#'a\\'}", "${esc#\"a\\\"}", "${esc%'\\b'}", "${a^}", "${a,}", "${a!b}", "${a:xb}", "${a x}", "${ a}", "${a~}",
    "'single $a'", "'unclosed", "\"double $a\"", "\"unclosed", "\"a\\\"b\\$c\\\\d\\e\"", "a\\ b", "a\\", "\\$a", "\\\\$a", "'a'\\''b'", "\"\"", "''", "a '' b", "a \"\" b", "\"a\\", "\\'", "a\\'b c",
    "<<EOF", "<< EOF x", "<<-EOF", "a<b", "<<\t'E F'", "3<<X", "<<<x", "<", "<<", "a << \"b\"c d",
    "  lead and  trail  ", "tab\tsep\nnl", "\u00a0nb\u00a0sp", "日本 ${nope:-語}", "\ufeffbom $a", "$lead|$lead", "a${empty}b", "$empty", "$empty $a", "x $empty$lead y",
    "${nope:-<<a b}", "${nope:-a'b}", "${nope:-a\"b}", "${a:-'unclosed}", "${nope?${a}}", "${nope:+$unseen}", "${nope:-$unseen}", "${a:-$unseen}", "${foo#$a}", "${foo%r$empty}", "${foo/$a/$a}", "${foo/o/${nope:-/}}",
]] + [b"\xff$a\xfe", b"${nope:-\xff}", b"'\xff'", b"${a#\xff}"]

TOKENS = [t.encode() for t in [
    "$", "${", "}", ":", "-", "+", "?", "#", "%", "/", "\\", "'", "\"", " ", "\t", "\n", "\r\n", "`", "<<", "<<EOF", "<<-EOF", "EOF\n", "--", "--link ", "--from=x ", "--mount=", "=", ",", "[", "]", "\"a\"", "\\\n", "# ", "#", "a", "$a", "${a}", "${nope:-", "*", "**", "?",
    "**/", "/**", "!", "^", "[a-c]", "[^a]", "{", "(", ")", "|", ".", "..", "./", "\u00a0", "é", "\ufeff", "FROM a\n", "RUN ", "COPY ", "ENV ", "ARG ", "ONBUILD ", "AS x", "\nRUN x\n", "escape=`", "syntax=", "check=skip=all", "\\\\", "\\d", "\\w", "[[:alpha:]]", "[]", "[z-a]", "\\x41", "\\Q", "<", ";", "true", "skip=", "0", "1", "日",
]]

IGNORES = [t.encode() for t in [
    "", "# c\n\n a \n!b\n", "*\n!a\n", "a\nb/\n/c\n./d\n../e\n", "**\n", "**/a", "a/**", "a/**/b", "**/*.go", "*.go\n!x.go\n", "*/*/c", "a?c", "[a-c]", "[^a]b", "[a", "a]", "a[]b", "\\a", "a\\*b", "a\\", "!\n", "! a\n", "!!a\n", "**a", "a**", "a**b", "**/a/**/b", "*a*b*c*", "***", "**/**", "**/**/x", "a/***/b", "a/b/../c", "/", ".", "!.", "..", "a.b+c(d)|{e}$", "^a", "a^b*", "[a*b]", "[a?b]", "[.]*", "[!a]*", "\\d*", "\\w*", "\\b*", "\\q*", "[[:alpha:]]*", "[[:foo:]]", "[z-a]", "[a-]", "[]a]", "[\\]]*", "[\\d]x", "é*", "日?", "*\n!a/b\n!**/c\n", "a\n!a/b\na/b/c\n", "\ufeffa\n", "a b\n", "a\t\n", "  # not comment\n", "foo*/bar\n", "*/\n", "**/.git\n!.git/x\n", "dir\n!dir/keep\n", "x" * 70000, "a\\/b", "[a/b]c", "[^/]x", "\\x41*", "\\101*", "\\1*", "\\A*", "\\Qa*\\E", "**/\u00e9?", "a**/b", "a/**b", "?**", "**?", "[*]", "[**]",
]] + [b"\xff*", b"[\xff]"]

PATHS = [t.encode() for t in [
    "a", "b", "c", "x", "a/b", "a/b/c", "a/x/b", "a/x/y/b", "x.go", "d/x.go", "d/e/y.go", "abc", "aXc", ".git", ".git/x", "dir", "dir/keep", "dir/other/z", "foo1/bar", "a*b", "a\\*b", "a.b+c(d)|{e}$", "a^b", "^a", "é", "日本", "a b", "bar/a/q/b", "A", "1x", "_", "-", "]", "a]", "[", "x/a", "ab", "aab", "a\nb", "d/a\nb", "!", ".", "a/.", "é1",
]] + [b"\xff", b"a\xff"]
