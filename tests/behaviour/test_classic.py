# SPDX-License-Identifier: Apache-2.0
"""The classic builder: POST /build, version 1, with docker-py, Debian's docker CLI 20.10, the CLI on PATH, and plain HTTP."""
import bz2
import gzip
import http.server
import json
import lzma
import os
import re
import socket
import subprocess
import textwrap
import threading
import urllib.parse

from harness import check, contains, equal, own, run, tar_of, wait_for
from test_remote import serve

TOO_NEW = "requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"


def tar(entries):
    return tar_of([(n, "f", 0o644, 1000, 1000, v.encode() if isinstance(v, str) else v) for n, v in entries.items()])


def build(d, entries, headers=None, **query):
    """-> (status, messages of the stream or the error)"""
    body = tar(entries) if isinstance(entries, dict) else entries
    q = urllib.parse.urlencode({k: v if isinstance(v, str) else json.dumps(v) for k, v in query.items()})
    status, _, data = d.http("POST", f"/v1.43/build?{q}", body, {"Content-Type": "application/x-tar", **(headers or {})})
    if status != 200:
        return status, json.loads(data)["message"]
    lines = data.split(b"\r\n")
    equal(lines[-1], b"", "the last line's end")
    check(b"---\\u003e" in data or b"--->" not in data, "'>' is written as Go writes it")
    return status, [json.loads(x) for x in lines[:-1]]


def text(messages):
    return "".join(m.get("stream", "") for m in messages)


def good(d, entries, **query):
    status, m = build(d, entries, **query)
    equal(status, 200, f"status ({m})")
    check("error" not in m[-1], m[-1])
    return text(m)


def base(w):
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    return d


def mask(s):
    return re.sub(r"\b[0-9a-f]{12}\b", "ID", s)


def test_stream(w):
    d = base(w)
    dockerfile = ('FROM busybox AS one\nRUN echo "stream test"\nRUN echo wrong >&2\nFROM scratch\nCOPY --from=one /etc/passwd /p\n'
                  'ENV A=b\nCMD ["x"]\nWORKDIR /w\n')
    status, m = build(d, {"Dockerfile": dockerfile}, t="classic/stream")
    equal(status, 200, "status")
    equal(mask(text(m)), textwrap.dedent("""\
        Step 1/8 : FROM busybox AS one
         ---> ID
        Step 2/8 : RUN echo "stream test"
         ---> Running in ID
        stream test
         ---> Removed intermediate container ID
         ---> ID
        Step 3/8 : RUN echo wrong >&2
         ---> Running in ID
        \x1b[91mwrong
        \x1b[0m ---> Removed intermediate container ID
         ---> ID
        Step 4/8 : FROM scratch
         ---> 
        Step 5/8 : COPY --from=one /etc/passwd /p
         ---> ID
        Step 6/8 : ENV A=b
         ---> Running in ID
         ---> Removed intermediate container ID
         ---> ID
        Step 7/8 : CMD ["x"]
         ---> Running in ID
         ---> Removed intermediate container ID
         ---> ID
        Step 8/8 : WORKDIR /w
         ---> Running in ID
         ---> Removed intermediate container ID
         ---> ID
        Successfully built ID
        Successfully tagged classic/stream:latest
        """), "the stream")
    equal([m[0], m[1]], [{"stream": "Step 1/8 : FROM busybox AS one"}, {"stream": "\n"}], "a step's line is sent in two parts")
    aux = [x["aux"]["ID"] for x in m if "aux" in x]
    image = d.json("GET", "/v1.43/images/classic/stream/json")
    equal([len(aux), aux[-1]], [2, image["Id"]], "one aux for each stage")
    equal(image["Config"]["WorkingDir"], "/w", "WorkingDir")
    equal(image["Config"]["Cmd"], ["x"], "Cmd")
    history = [h["CreatedBy"] for h in d.json("GET", "/v1.43/images/classic/stream/history")]
    equal([history[0], history[1], history[2]],
          ["/bin/sh -c #(nop) WORKDIR /w", '/bin/sh -c #(nop)  CMD ["x"]', "/bin/sh -c #(nop)  ENV A=b"], "history")
    check(re.fullmatch(r"/bin/sh -c #\(nop\) COPY file:[0-9a-f]{64} in /p ", history[3]), history)
    equal(len(image["RootFS"]["Layers"]), 2, "a layer for each step that changed files")


def test_rebuild(w):
    """The same again is all cached and the same image; every step is an image; the steps in between are shown with -a only."""
    d = base(w)
    files = {"Dockerfile": "FROM busybox\nCOPY f /f\nRUN cat /f > /rebuild\nENV X=y\nRUN true\n", "f": "first"}
    first = good(d, files, t="rebuild")
    again = good(d, files, t="rebuild")
    equal(again.count("Using cache"), 4, "steps from the cache")
    ids = re.findall(r" ---> ([0-9a-f]{12})\n", again)
    equal(ids, re.findall(r" ---> ([0-9a-f]{12})\n", first), "ids")
    parent = ""
    for i in ids:
        image = d.json("GET", f"/v1.43/images/{i}/json")
        check(image["Id"].startswith("sha256:" + i), image["Id"])
        if parent:
            equal(image["Parent"], parent, "Parent")
        parent = image["Id"]
    equal(d.docker("run", "--rm", ids[2], "cat", "/rebuild").ok().out, "first", "a step in between runs")
    shown = [i["Id"][7:19] for i in d.json("GET", "/v1.43/images/json")]
    every = [i["Id"][7:19] for i in d.json("GET", "/v1.43/images/json?all=1")]
    check(ids[4] in shown and not set(ids[1:4]) & set(shown), (ids, shown))
    check(set(ids) <= set(every), (ids, every))
    changed = good(d, {**files, "f": "second"}, t="rebuild")
    equal(changed.count("Using cache"), 0, "nothing of what follows a changed file is cached")
    back = good(d, files, nocache="1")
    equal(back.count("Using cache"), 0, "nocache")
    deleted = [x["Deleted"][7:19] for x in d.json("DELETE", "/v1.43/images/rebuild") if "Deleted" in x]
    check(len(deleted) == 4, deleted)
    d.docker("image", "prune", "-f").ok()


@own
def test_shares_the_cache(w):
    """One solver: what BuildKit built is cached for the classic builder, and the other way round."""
    d = w.shared()
    c = w.context("FROM busybox\nCOPY f /f\nRUN echo shared by both > /both\n", f="shared\n")
    d.docker("build", c).ok()
    out = good(d, {"Dockerfile": "FROM busybox\nCOPY f /f\nRUN echo shared by both > /both\nRUN echo classic > /first\n", "f": "shared\n"})
    equal(out.count("Using cache"), 2, "steps from BuildKit's build")
    r = d.docker("build", "--progress=plain",
                 w.context("FROM busybox\nCOPY f /f\nRUN echo shared by both > /both\nRUN echo classic > /first\n", f="shared\n")).ok()
    equal(r.err.count("CACHED"), 3, f"steps from the classic build\n{r.err}")


def failing(d, dockerfile, *parts, code=None, files=None, **query):
    status, m = build(d, {"Dockerfile": dockerfile, **(files or {})}, **query)
    equal(status, 200, f"{dockerfile!r}: status ({m})")
    for p in parts:
        contains(m[-1]["error"], p)
    equal(m[-1]["errorDetail"].get("code"), code, "code")
    equal(m[-1]["errorDetail"]["message"], m[-1]["error"], "both texts")
    return text(m)


def test_errors_of_steps(w):
    d = base(w)
    out = failing(d, "FROM busybox\nRUN echo soon; exit 7\n", "The command '/bin/sh -c echo soon; exit 7' returned a non-zero code: 7", code=7)
    contains(out, "soon\n")
    check("Removed intermediate container" not in out, out)
    out = failing(d, "FROM busybox\nRUN exit 8\n", "The command '/bin/sh -c exit 8' returned a non-zero code: 8", code=8, forcerm="1")
    contains(out, "Removed intermediate container")
    check("Removed intermediate container" not in good(d, {"Dockerfile": "FROM busybox\nRUN echo rm0\n"}, rm="0"), "rm=0")
    failing(d, "FROM busybox\nUSER ghost\nRUN true\n", "unable to find user ghost: no matching entries in passwd file")
    contains(good(d, {"Dockerfile": "FROM busybox\nRUN true\n"}, dockerfile="a/../Dockerfile"), "Step 2/2")
    failing(d, "FROM busybox\nCOPY missing /x\n", "COPY failed: file not found in build context or excluded by .dockerignore: stat missing: file does not exist")
    failing(d, "FROM busybox\nCOPY *.none /x/\n", "COPY failed: no source files were specified")
    failing(d, "FROM busybox\nCOPY --from=busybox /missing /x\n", "COPY failed: stat missing: file does not exist")
    failing(d, "FROM busybox\nCOPY a* /x\n", "When using COPY with more than one source file, the destination must be a directory and end with a /",
            files={"a1": "1", "a2": "2"})
    failing(d, "FROM busybox\nCOPY http://127.0.0.1:1/f /x\n", "COPY failed: source can't be a URL for COPY")
    failing(d, "FROM busybox\nCOPY --from=0 /etc /x\n", "invalid from flag value 0: refers to current build stage")
    failing(d, "FROM busybox\nCOPY --from=3 /etc /x\n", "invalid from flag value 3: index out of bounds")
    failing(d, "FROM busybox\nCOPY --chown=ghost f /x\n",
            "unable to convert uid/gid chown string to host mapping: can't find uid for user ghost: no such user: ghost", files={"f": ""})
    failing(d, "ARG B\nFROM $B\n", "base name ($B) should not be blank")
    failing(d, "FROM busybox\nRUN --mount=type=cache,target=/c true\n", f"the --mount option {TOO_NEW}")
    failing(d, "FROM busybox\nCOPY --chmod=700 f /x\n", f"the --chmod option {TOO_NEW}", files={"f": ""})
    failing(d, "FROM busybox AS a\nFROM busybox AS a\n", "a stage name already used")
    failing(d, "FROM scratch\n", "No image was generated. Is your Dockerfile empty?")
    failing(d, "FROM busybox\nSTOPSIGNAL NOTASIGNAL\n", "invalid signal: NOTASIGNAL")
    failing(d, "FROM no-such-image-anywhere\n", "no-such-image-anywhere")


@own
def test_flags_of_buildkit(w):
    """dockerd passes these over, and builds something else than what was asked for."""
    d = base(w)
    failing(d, "FROM busybox\nRUN <<E\ntrue\nE\n", f"the heredoc syntax {TOO_NEW}")
    failing(d, "FROM busybox\nADD --checksum=sha256:00 http://127.0.0.1:1/f /x\n", f"the --checksum option {TOO_NEW}")
    failing(d, "FROM busybox\nCOPY --exclude=*.o . /x\n", f"the --exclude option {TOO_NEW}")
    equal(build(d, {"Dockerfile": "FROM busybox\n"}, outputs=[{"Type": "tar"}]), (400, f"the outputs parameter {TOO_NEW}"), "outputs")


def test_errors_before_the_stream(w):
    d = base(w)

    def refused(want, body, *parts, **query):
        status, message = build(d, body if isinstance(body, bytes) else {"Dockerfile": body}, **query)
        equal(status, want, f"{query}: status ({message})")
        for p in parts:
            contains(message, p)

    refused(400, "FROM busybox\nRUNN x\n", "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)")
    refused(400, "FROM busybox\nENV x\n", "failed to parse Dockerfile: ENV must have two arguments")
    refused(400, "", "the Dockerfile (Dockerfile) cannot be empty")
    refused(500, tar({"f": ""}), "Cannot locate specified Dockerfile: Dockerfile")
    refused(500, "FROM busybox\n", "Cannot locate specified Dockerfile: other", dockerfile="other")
    refused(500, "FROM busybox\n", "forbidden path outside the build context: a/../../x ()", dockerfile="a/../../x")
    refused(400, "FROM busybox\n", 'target stage "nope" could not be found', target="nope")
    refused(400, "FROM busybox\n", 'target stage "0" could not be found', target="0")
    refused(500, "FROM busybox\n", "forbidden path outside the build context: /../Dockerfile ()", dockerfile="/../Dockerfile")
    refused(500, "FROM busybox\n", "forbidden path outside the build context: Dockerfile/x ()", dockerfile="Dockerfile/x")
    refused(500, tar_of([("Dockerfile", "d", 0o755, 0, 0, None)]), "unexpected error reading Dockerfile: read ", ": is a directory")
    refused(500, tar_of([("Dockerfile", "l", 0o777, 0, 0, "Dockerfile")]), "forbidden path outside the build context: Dockerfile ()")
    refused(500, b"no archive " * 60, "archive/tar: invalid tar header")
    refused(500, b"\x1f\x8b\x08 no gzip")
    refused(400, "FROM busybox\n", "squash is only supported with experimental mode", squash="1")
    refused(400, "FROM busybox\n", "security options are not supported on linux", securityopt="x")
    refused(400, "FROM busybox\n", 'unsupported isolation: "odd"', isolation="odd")
    refused(400, "FROM busybox\n", 'unsupported isolation: "hyperv"', isolation="hyperv")
    refused(400, "FROM busybox\n", 'invalid version "3"', version="3")
    refused(400, "FROM busybox\n", '"odd": unknown operating system or architecture: invalid argument', platform="odd")
    refused(400, "FROM busybox\n", "experimental session with v1 builder is no longer supported", remote="client-session")
    refused(500, "FROM busybox\n", "remoteURL (odd) could not be recognized as URL", remote="odd")
    refused(500, "FROM busybox\n", 'error downloading remote context http://127.0.0.1:1/x: Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused',
            remote="http://127.0.0.1:1/x")
    for v, why in {"x": "invalid syntax", "1.5": "invalid syntax", " 1": "invalid syntax", "9" * 30: "value out of range"}.items():
        refused(500, "FROM busybox\n", f'strconv.ParseInt: parsing "{v}": {why}', shmsize=v)
    for v, why in {"UPPER": "invalid reference format: repository name (library/UPPER) must be lowercase", "a:b:c": "invalid reference format",
                   "x@sha256:" + 64 * "0": "build tag cannot contain a digest", "0" * 64: "cannot specify 64-byte hexadecimal strings"}.items():
        refused(500, "FROM busybox\n", why, t=v)
        refused(500, "FROM busybox\n", why, t=v, version="2")


JSON = {"buildargs": ("error reading build args", "map[string]*string"), "labels": ("error reading labels", "map[string]string"),
        "cachefrom": ("error reading cache-from", "[]string"), "ulimits": ("error reading ulimit settings", "[]*units.Ulimit"),
        "outputs": ("invalid outputs specified", "[]buildbackend.BuildOutput")}


def test_json_of_the_query(w):
    """Mistakes in it are told in the words of Go's decoder, to both builders' clients."""
    d = base(w)
    bad = {"{": "unexpected end of JSON input", "x": "invalid character 'x' looking for beginning of value",
           '{"a" "b"}': "invalid character '\"' after object key", "[1 2]": "invalid character '2' after array element",
           "tru": "invalid character ' ' in literal true (expecting 'e')", "{} x": "invalid character 'x' after top-level value",
           "1": "json: cannot unmarshal number into Go value of type %s", '"a"': "json: cannot unmarshal string into Go value of type %s"}
    for name, (failure, kind) in JSON.items():
        for value, why in bad.items():
            for version in ("1", "2"):
                got = build(d, {"Dockerfile": "FROM busybox\n"}, **{name: value, "version": version})
                equal(got, (400, f"{failure}: {why % kind if '%' in why else why}"), f"{name}={value}")
        good(d, {"Dockerfile": "FROM busybox\n"}, **{name: "null"})
    for name, value, why in (
            ("buildargs", '{"a":1}', "number into Go value of type string"), ("labels", '{"a":{}}', "object into Go value of type string"),
            ("cachefrom", "[true]", "bool into Go value of type string"), ("ulimits", "[1]", "number into Go value of type units.Ulimit"),
            ("ulimits", '[{"Name":1}]', "number into Go struct field Ulimit.Name of type string"),
            ("ulimits", '[{"Name":"nofile","Soft":1.5}]', "number 1.5 into Go struct field Ulimit.Soft of type int64"),
            ("outputs", '[{"Attrs":{"a":1}}]', "number into Go struct field BuildOutput.Attrs of type string")):
        equal(build(d, {"Dockerfile": "FROM busybox\n"}, **{name: value}), (400, f"{JSON[name][0]}: json: cannot unmarshal {why}"), f"{name}={value}")


def test_arguments(w):
    d = base(w)
    out = good(d, {"Dockerfile": "ARG V=latest\nFROM busybox:$V\nARG A=one\nARG B\nENV E=${A}x\nRUN echo \"$A $B $E $http_proxy\"\n"},
               buildargs={"A": "two", "B": None, "http_proxy": "http://p:1", "odd": "1", "unset": None}, t="args")
    contains(out, "Step 1/6 : ARG V=latest\nStep 2/6 : FROM busybox:$V\n")
    contains(out, "two  twox http://p:1\n")
    contains(out, "[Warning] One or more build-args [odd unset] were not consumed\n")
    history = [h["CreatedBy"] for h in d.json("GET", "/v1.43/images/args/history")]
    equal(history[0], '|1 A=two /bin/sh -c echo "$A $B $E $http_proxy"', "history of RUN")
    good(d, {"Dockerfile": "FROM busybox\nLABEL own=1\n"}, labels={"z": "2", "a": "1"}, t="labels")
    equal(d.json("GET", "/v1.43/images/labels/json")["Config"]["Labels"], {"own": "1", "a": "1", "z": "2"}, "labels")
    out = good(d, {"Dockerfile": "FROM busybox AS first\nRUN echo 1\nFROM busybox AS second\nRUN echo 2\n"}, target="FIRST")
    contains(out, "Step 2/2 : RUN echo 1")
    status, m = build(d, {"Dockerfile": "FROM busybox\nENV quiet=1\n"}, q="1", t="quiet")
    equal(m, [{"stream": d.json("GET", "/v1.43/images/quiet/json")["Id"] + "\n"}], "a quiet build")
    status, m = build(d, {"Dockerfile": "FROM busybox\nRUN echo told; false\n"}, q="1")
    contains(text(m), "told\n")
    contains(m[-1]["error"], "returned a non-zero code: 1")


def listing(d, name):
    return d.docker("run", "--rm", name, "sh", "-c", "cd /x && find . | sort | xargs stat -c '%n %a %u:%g'").ok().out


def test_copy(w):
    d = base(w)
    archive = tar_of([("in", "f", 0o640, 7, 8, b"in"), ("sub", "d", 0o700, 7, 8, None)])
    files = [("Dockerfile", "f", 0o644, 9, 9, b"FROM busybox AS s\nRUN mkdir /d && echo s > /d/s && chown -R 5:6 /d\nFROM busybox\nWORKDIR /x\n"
              b"COPY a.txt b.txt ./\nCOPY dir renamed\nCOPY --chown=daemon:users a.txt owned\nCOPY --chown=1000 a.txt n/\n"
              b"COPY --from=s /d st\nCOPY --from=0 /d/s byindex\nCOPY --from=busybox /etc/group g\nADD t.tar unpacked/\nCOPY *.t?t globbed/\n"),
             ("a.txt", "f", 0o600, 1000, 1000, b"a"), ("b.txt", "f", 0o755, 1000, 1000, b"b"), ("dir", "d", 0o750, 3, 3, None),
             ("dir/l", "l", 0o777, 3, 3, "../a.txt"), ("dir/f", "f", 0o444, 3, 3, b"f"), ("t.tar", "f", 0o644, 0, 0, archive)]
    good(d, tar_of(files), t="copies")
    equal(listing(d, "copies"), textwrap.dedent("""\
        . 755 0:0
        ./a.txt 600 0:0
        ./b.txt 755 0:0
        ./byindex 644 5:6
        ./g 644 0:0
        ./globbed 755 0:0
        ./globbed/a.txt 600 0:0
        ./globbed/b.txt 755 0:0
        ./n 755 1000:1000
        ./n/a.txt 600 1000:1000
        ./owned 600 1:100
        ./renamed 755 0:0
        ./renamed/f 444 0:0
        ./renamed/l 777 0:0
        ./st 755 0:0
        ./st/s 644 5:6
        ./unpacked 755 0:0
        ./unpacked/in 640 7:8
        ./unpacked/sub 700 7:8
        """), "what was copied")


def test_add_url(w):
    d = base(w)
    files = w.folder("files")
    (files / "f").write_text("remote\n")
    server, url = serve(files)
    try:
        good(d, {"Dockerfile": f"FROM busybox\nADD {url}/f /x/\n"}, t="fromurl")
        equal(d.docker("run", "--rm", "fromurl", "cat", "/x/f").ok().out, "remote\n", "file")
        failing(d, f"FROM busybox\nADD {url}/missing /x/\n", f"ADD failed: failed to GET {url}/missing with status 404 ")
        failing(d, f"FROM busybox\nADD {url}/ /x/\n", f"ADD failed: cannot determine filename for source {url}/")
    finally:
        server.shutdown()
        server.server_close()


def test_contexts(w):
    d = base(w)
    plain = tar({"sub/Containerfile": "FROM busybox\nCOPY . /x\nRUN ls -A /x\n", "f": "1", ".dockerignore": "sub\n.dockerignore\n"})
    zstd = subprocess.run(["zstd", "-q", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout
    for kind, body in {"none": plain, "gzip": gzip.compress(plain), "bzip2": bz2.compress(plain), "xz": lzma.compress(plain), "zstd": zstd}.items():
        out = good(d, body, dockerfile="sub/Containerfile", nocache="1")
        contains(out, "\nf\nsub\n", kind)
    contains(good(d, {"dockerfile": "FROM busybox\nRUN echo lower case\n"}), "lower case")
    status, message = build(d, b"this is no archive, and long enough to tell" * 40)
    check(status >= 400, (status, message))
    d.alive()


class git(http.server.BaseHTTPRequestHandler):
    """git over HTTP: the program git http-backend does it."""

    def serve(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.server.root, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
               "REMOTE_ADDR": "127.0.0.1", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nowhere"}
        out = subprocess.run(["git", "-c", "safe.directory=*", "http-backend"], env=env, input=body, stdout=subprocess.PIPE, check=False).stdout
        head, _, data = out.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        self.send_response(next((int(v.split()[0]) for k, v in fields if k == "Status"), 200))
        for k, v in fields:
            if k != "Status":
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = serve

    def log_message(self, *args):
        pass


def test_remote_contexts(w):
    d = base(w)
    repo = w.context("FROM busybox\nCOPY f /f\nRUN cat /f\n", f="from git\n", **{"sub/Dockerfile": "FROM busybox\nRUN echo below\n"})
    for args in (["init", "-q", "-b", "master"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "1"]):
        run(["git", *args], cwd=repo).ok()
    files = w.folder("web")
    (files / "Dockerfile").write_text("FROM busybox\nRUN echo a Dockerfile alone\n")
    (files / "context.tar.gz").write_bytes(gzip.compress(tar({"Dockerfile": "FROM busybox\nCOPY f /\nRUN cat /f\n", "f": "from a tar\n"})))
    web, url = serve(files)
    gits = http.server.ThreadingHTTPServer(("127.0.0.1", 0), git)
    gits.root = str(repo.parent)
    threading.Thread(target=gits.serve_forever, daemon=True).start()
    try:
        at = f"http://127.0.0.1:{gits.server_address[1]}/{repo.name}/.git"
        contains(good(d, b"", remote=at, nocache="1"), "from git\n")
        contains(good(d, b"", remote=f"{at}#master:sub", nocache="1"), "below\n")
        contains(good(d, b"", remote=f"{url}/Dockerfile", nocache="1"), "a Dockerfile alone\n")
        contains(good(d, b"", remote=f"{url}/context.tar.gz", nocache="1"), "from a tar\n")
        status, message = build(d, b"", remote=f"{url}/missing.tar")
        equal(status, 404, "status of a missing context")
        contains(message, f"error downloading remote context {url}/missing.tar: failed to GET {url}/missing.tar with status 404 ")
    finally:
        for s in (web, gits):
            s.shutdown()
            s.server_close()


# What a step sees of its limits, with either version of cgroups.
SHOW = """exec 2>/dev/null; cd /sys/fs/cgroup
show() { echo "$1=$(cat $2 || cat $3)"; }
show memory memory.max memory/memory.limit_in_bytes
if [ -f memory.max ]; then echo "swap=$(($(cat memory.swap.max) + $(cat memory.max)))"; else echo "swap=$(cat memory/memory.memsw.limit_in_bytes)"; fi
if [ -f cpu.max ]; then echo "cpu=$(cat cpu.max)"; else echo "cpu=$(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)"; fi
show shares cpu.weight cpu/cpu.shares
show cpus cpuset.cpus cpuset/cpuset.cpus
show mems cpuset.mems cpuset/cpuset.mems
echo "files=$(ulimit -Sn) $(ulimit -Hn)"; echo "core=$(ulimit -Sc)"
echo "shm=$(df -k /dev/shm | tail -1 | awk '{print $2}')"
echo "parent=$(grep -c /made-by-tests/ /proc/self/cgroup)"
echo "nets=$(echo $(ls /sys/class/net))"; cat /etc/hosts
"""


def shown(d, **query):
    return good(d, {"Dockerfile": "FROM busybox\nCOPY show /\nRUN sh /show\n", "show": SHOW}, nocache="1", **query)


def test_limits_of_steps(w):
    d = base(w)
    out = shown(d, memory=str(64 << 20), cpushares="512", cpuperiod="50000", cpuquota="25000", cpusetcpus="0", cpusetmems="0", shmsize=str(1 << 20),
                ulimits=[{"Name": "nofile", "Soft": 700, "Hard": 800}, {"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": 98, "Hard": 99}])
    for want in (f"memory={64 << 20}\n", f"swap={128 << 20}\n", "cpu=25000 50000\n", "cpus=0\n", "mems=0\n", "files=98 99\n", "core=0\n", "shm=1024\n"):
        contains(out, want)
    check("shares=512\n" in out or "shares=20\n" in out, out)
    contains(shown(d, memory=str(64 << 20), memswap=str(64 << 20)), f"swap={64 << 20}\n")
    check(f"swap={128 << 20}\n" not in shown(d, memory=str(64 << 20), memswap="-1"), "swap without limit")
    contains(shown(d, cpuquota="-1", memory="x", cpushares="x", cpuperiod="x"), "shm=65536\n")  # no limits, and numbers that are none
    if os.path.exists("/sys/fs/cgroup/memory"):  # with version 2 a step sees its own namespace
        check("parent=0\n" not in shown(d, cgroupparent="/made-by-tests"), "cgroupparent")


REFUSED = [({"memory": "1"}, "Minimum memory limit allowed is 6MB"), ({"memory": "-1"}, "Minimum memory limit allowed is 6MB"),
           ({"memswap": "1000"}, "You should always set the Memory limit when using Memoryswap limit, see usage"),
           ({"memory": str(64 << 20), "memswap": str(32 << 20)}, "Minimum memoryswap limit should be larger than memory limit, see usage"),
           ({"cpuperiod": "10"}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
           ({"cpuperiod": "2000000"}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
           ({"cpuquota": "999"}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
           ({"cpusetcpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
           ({"cpusetcpus": "1-0"}, "Invalid value 1-0 for cpuset cpus: invalid format: 1-0"),
           ({"cpusetcpus": "7777"}, "Requested CPUs are not available - requested 7777, available: "),
           ({"cpusetmems": "7777"}, "Requested memory nodes are not available - requested 7777, available: "),
           ({"shmsize": "-1"}, "SHM size can not be less than 0"),
           ({"extrahosts": "x"}, 'bad format for add-host: "x"'), ({"extrahosts": ":1.2.3.4"}, 'bad format for add-host: ":1.2.3.4"'),
           ({"extrahosts": "a=1.2.3.4"}, 'bad format for add-host: "a=1.2.3.4"'), ({"extrahosts": "a:b"}, 'invalid IP address in add-host: "b"')]


def test_limits_that_are_refused(w):
    """At the first step that makes a container in dockerd, also one that only changes the config."""
    d = base(w)
    for query, why in REFUSED:
        for step in ("RUN true", "ENV a=b"):
            failing(d, f"FROM busybox\nCOPY f /\n{step}\n", why, files={"f": ""}, nocache="1", **query)
        good(d, {"Dockerfile": "FROM busybox\nCOPY f /\n", "f": ""}, nocache="1", **query)


def test_network_and_hosts_of_steps(w):
    d = base(w)
    for mode, nets in {"": "eth0 lo", "default": "eth0 lo", "bridge": "eth0 lo", "none": "lo"}.items():
        contains(shown(d, networkmode=mode), f"nets={nets}\n")
    check("nets=lo\n" not in shown(d, networkmode="host"), "the host's network")
    q = urllib.parse.urlencode([("nocache", "1"), ("extrahosts", "one.example:10.9.8.7"), ("extrahosts", "six.example:fd00::7"), ("extrahosts", "gate:host-gateway")])
    _, _, data = d.http("POST", f"/build?{q}", tar({"Dockerfile": "FROM busybox\nRUN cat /etc/hosts\n"}), {"Content-Type": "application/x-tar"})
    out = text(json.loads(x) for x in data.split(b"\r\n") if x)
    contains(out, "10.9.8.7\tone.example\nfd00::7\tsix.example\n")
    check(re.search(r"^[0-9.]+\tgate$", out, re.M), out)
    failing(d, "FROM busybox\nENV a=b\nRUN true\n", "failed to set up container networking: network no-such-network not found",
            networkmode="no-such-network", nocache="1")
    good(d, {"Dockerfile": "FROM busybox\nENV a=b\n"}, networkmode="no-such-network", nocache="1")  # nothing runs


def test_network_of_a_container(w):
    """networkmode=container:NAME: the step is in its network, with its hosts and name; BuildKit refuses it."""
    d = base(w)
    d.docker("run", "-d", "--name", "donor", "--hostname", "donors-name", "--add-host", "seen:1.2.3.4", "busybox", "sh", "-c", "mkdir /www && echo heard > /www/f && httpd -f -p 7654 -h /www").ok()
    d.docker("run", "--name", "ended", "busybox", "true").ok()
    try:
        show = "cat /sys/class/net/eth0/address /etc/hosts /etc/resolv.conf; hostname"
        out = good(d, {"Dockerfile": f"FROM busybox\nRUN {show}\nRUN until wget -qO- http://127.0.0.1:7654/f; do :; done\n"}, networkmode="container:donor", nocache="1")
        contains(out, d.docker("exec", "donor", "sh", "-c", show).ok().out)
        contains(out, "1.2.3.4\tseen\n")
        contains(out, "heard\n")
        dockerfile = "FROM busybox\nENV a=b\nRUN true\n"
        for name, why in {"nope": "joining network namespace of container: No such container: nope",
                          "": 'joining network namespace of container: invalid name or ID supplied: ""',
                          "ended": "cannot join network namespace of a non running container: container ended is exited"}.items():
            contains(failing(d, dockerfile, why, networkmode=f"container:{name}", nocache="1"), "Step 3/3 : RUN true\n ---> Running in ")
        good(d, {"Dockerfile": "FROM busybox\nENV a=b\n"}, networkmode="container:nope", nocache="1")
        equal(build(d, {"Dockerfile": dockerfile}, version="2", networkmode="container:donor"),
              (500, 'network mode "container:donor" not supported by buildkit'), "with BuildKit")
    finally:
        d.docker("rm", "-f", "donor", "ended").ok()


def test_onbuild(w):
    d = w.shared()
    out = good(d, {"Dockerfile": "FROM onbuild\nRUN cat /onbuild; echo $FROM_ONBUILD\n"}, nocache="1", t="triggered")
    contains(out, "# Executing 2 build triggers\n")
    contains(out, "triggered\n1\n")
    check(not d.json("GET", "/v1.43/images/triggered/json")["Config"].get("OnBuild"), "the triggers are gone")
    good(d, {"Dockerfile": "FROM busybox\nONBUILD RUN echo later\n"}, t="laters")
    equal(d.json("GET", "/v1.43/images/laters/json")["Config"]["OnBuild"], ["RUN echo later"], "OnBuild")


def test_cache_from(w):
    d = w.daemon()
    files = {"Dockerfile": "FROM busybox\nRUN echo $RANDOM$RANDOM > /random\nRUN echo $RANDOM >> /random\n"}
    good(d, files, t="source")
    want = d.docker("run", "--rm", "source", "cat", "/random").ok().out
    d.docker("save", "-o", w.tmp / "source.tar", "source").ok()
    other = w.daemon()
    other.docker("pull", "-q", "busybox").ok()
    other.docker("load", "-i", w.tmp / "source.tar").ok()
    out = good(other, files, cachefrom=["source", "no-such-image"], t="again")
    equal(out.count("Using cache"), 2, f"steps from the image\n{out}")
    equal(other.docker("run", "--rm", "again", "cat", "/random").ok().out, want, "the same layers")


def test_clients(w):
    d = base(w)
    c = w.context("FROM busybox\nARG A\nCOPY f /f\nRUN cat /f; echo $A\n", f="by a client\n", **{".dockerignore": "secret\n", "secret": "s"})
    major = int(re.search(r"version (\d+)", d.docker("--version").ok().out)[1])
    for client in [d.docker20, *([d.docker] if major >= 23 else [])]:  # older ones: the same one
        r = client("build", "--no-cache", "-t", "byclient", "--build-arg", "A=b", "--label", "l=1", "-m", "64m", c, env={"DOCKER_BUILDKIT": "0"}).ok()
        contains(r.out, "by a client\nb\n")
        contains(r.out, "Successfully tagged byclient:latest")
        equal(d.docker("run", "--rm", "byclient", "cat", "/f").ok().out, "by a client\n", "output")
        r = client("build", w.context("FROM busybox\nRUN exit 9\n"), env={"DOCKER_BUILDKIT": "0"})
        equal(r.code, 9, "the exit code is the step's")
        contains(r.err, "The command '/bin/sh -c exit 9' returned a non-zero code: 9")
    r = d.docker20("build", "-q", c, env={"DOCKER_BUILDKIT": "0"}).ok()
    check(re.fullmatch(r"sha256:[0-9a-f]{64}\n", r.out), r.out)
    r = d.docker20("build", "-", env={"DOCKER_BUILDKIT": "0"}, stdin=b"FROM busybox\nRUN echo from stdin\n").ok()
    contains(r.out, "from stdin\n")


def test_clients_ways(w):
    """The ways of the docker CLIs with the builder of dockerd: contexts from everywhere, what is ignored, what is written."""
    d = base(w)
    c = w.context("FROM busybox\nCOPY . /x\nRUN ls -A /x\n", keep="kept\n", secret="s", **{".dockerignore": "*\n!keep\n!Docker*\n", "sub/Dockerfile": "FROM busybox\nRUN echo below\n"})
    archive = tar({"Dockerfile": "FROM busybox\nCOPY f /f\nRUN cat /f\n", "f": "tarred\n", "d/Second": "FROM busybox\nRUN echo the second\n"})
    dockerfile = b"FROM busybox\nCOPY keep /k\nRUN cat /k; test ! -e /secret\n"

    def ask(client, *args, **kw):
        return client("build", *args, env={"DOCKER_BUILDKIT": "0"}, **kw)

    for client in (d.docker20, d.docker):
        contains(ask(client, "--no-cache", c).ok().out, "Dockerfile\nkeep\n")
        contains(ask(client, "--no-cache", "-f", "-", c, stdin=dockerfile).ok().out, "kept\n")
        contains(ask(client, "--no-cache", "-", stdin=dockerfile.replace(b"COPY keep /k\nRUN cat /k;", b"RUN echo alone;")).ok().out, "alone\n")
        contains(ask(client, "--no-cache", "-", stdin=archive).ok().out, "tarred\n")
        contains(ask(client, "--no-cache", "-f", "d/Second", "-", stdin=gzip.compress(archive)).ok().out, "the second\n")
        contains(ask(client, "--no-cache", "-f", c / "sub/Dockerfile", c / "sub").ok().out, "below\n")
        r = ask(client, "-q", "-t", "ways:1", "-t", "ways:2", "--iidfile", w.tmp / "iid", c).ok()
        image = d.json("GET", "/v1.43/images/ways:1/json")
        equal([r.out.strip(), (w.tmp / "iid").read_text().strip(), d.json("GET", "/v1.43/images/ways:2/json")["Id"]], [image["Id"]] * 3, "-q, --iidfile, two tags")
        r = ask(client, "-q", "-f", "-", c, stdin=b"FROM busybox\nRUN echo told; exit 4\n")
        equal(r.code, 4, "the step's code")
        contains(r.out + r.err, "told\n")
        contains(ask(client, "-f", "-", c, stdin=b"FROM busybox\nCOPY secret /\n").fails().err,
                 "COPY failed: file not found in build context or excluded by .dockerignore: stat secret: file does not exist")
        contains(ask(client, "-f", "-", c, stdin=b"FROM busybox\nNOPE\n").fails().err, "dockerfile parse error on line 2: unknown instruction: NOPE (did you mean COPY?)")
        contains(ask(client, "-t", "UPPER", c).fails().err, "repository name")
        contains(ask(client, "--no-cache", "-m", "1m", "-f", "-", c, stdin=b"FROM busybox\nRUN true\n").fails().err, "Minimum memory limit allowed is 6MB")
        out = ask(client, "--cache-from", "ways:1,no-such-image", "--build-arg", "UNUSED=1", c).ok().out
        contains(out, "Using cache")
        contains(out, "[Warning] One or more build-args [UNUSED] were not consumed\n")


def test_the_other_parameters(w):
    """dockerfile, t, q, rm, forcerm, nocache, pull, platform, session, buildid, credentialspec, X-Registry-Config."""
    d = base(w)
    files = {"Dockerfile": "FROM busybox\nRUN echo params\n", "sub/Other": "FROM busybox\nRUN echo other\n"}
    for name in ("sub/Other", "/sub/Other", "./sub//Other", "sub/../sub/Other"):
        contains(good(d, files, dockerfile=name, nocache="1"), "other\n")
    q = urllib.parse.urlencode([("t", "two/a"), ("t", "docker.io/two/a:latest"), ("t", ""), ("t", "two/b:2")])
    _, _, data = d.http("POST", f"/build?{q}", tar(files), {"Content-Type": "application/x-tar"})
    equal(re.findall(r"Successfully tagged (\S+)\\n", data.decode()), ["two/a:latest", "two/b:2"], "each tag once")
    for value, quiet in {"1": True, "true": True, "x": True, "0": False, "false": False, "no": False, "none": False, "": False}.items():
        status, m = build(d, files, q=value)
        equal([status, len(m) == 1], [200, quiet], f"q={value}")
        equal("Using cache" in good(d, files, nocache=value), not quiet, f"nocache={value}")
        removed = "Removed intermediate container" in good(d, {"Dockerfile": "FROM busybox\nRUN true\n"}, nocache="1", rm=value)
        equal(removed, quiet or value == "", f"rm={value}")
        out = failing(d, "FROM busybox\nRUN false\n", "returned a non-zero code: 1", code=1, forcerm=value)
        equal("Removed intermediate container" in out, quiet, f"forcerm={value}")
    status, m = build(d, files, pull="1")
    equal(status, 200, m)
    contains(json.dumps(m), "Pulling from library/busybox")
    check("Pulling" not in json.dumps(build(d, files, pull="0")), "pull=0")
    good(d, {"Dockerfile": "FROM busybox\nCOPY Dockerfile /\n"}, platform="linux/arm64", t="params/arm")
    equal(d.json("GET", "/v1.43/images/params/arm/json")["Architecture"], "arm64", "platform")
    failing(d, "FROM busybox\nENV a=b\n", "no matching manifest for linux/s390x in the manifest list entries", platform="linux/s390x")
    failing(d, "FROM scratch\nENV a=b\n", "operating system is not supported", platform="windows/amd64")
    good(d, files, session="none", buildid="mine", credentialspec="file://x", version="1", isolation="default", unknown="x")
    for header in ("", "{", "bm8=", "e30=", "!!!"):  # credentials that cannot be read count as none
        equal(build(d, files, headers={"X-Registry-Config": header})[0], 200, f"X-Registry-Config: {header}")


def test_docker_py(w):
    d = base(w)
    c = w.context("FROM busybox AS one\nARG A=default\nRUN echo $A\nFROM one\nCOPY f /f\n", f="file\n", **{"other.df": "FROM busybox\nRUN echo other\n"})
    script = textwrap.dedent(f"""
        import docker, io, tarfile
        client = docker.from_env()
        image, log = client.images.build(path={str(c)!r}, tag="py", buildargs={{"A": "given"}}, labels={{"k": "v"}}, rm=True, nocache=True, pull=False)
        text = "".join(x.get("stream", "") for x in log)
        assert "given" in text and "Successfully tagged py:latest" in text, text
        assert image.labels["k"] == "v" and "py:latest" in image.tags, image
        assert client.containers.run("py", "cat /f", remove=True) == b"file\\n"
        image, log = client.images.build(path={str(c)!r}, target="one")
        assert "Step 3/3 : RUN echo $A" in "".join(x.get("stream", "") for x in log)
        image, log = client.images.build(path={str(c)!r}, dockerfile="other.df", container_limits={{"memory": 64 << 20, "cpushares": 512}}, shmsize=1 << 20,
                                         extra_hosts={{"h": "10.0.0.1"}}, network_mode="none", forcerm=True, cache_from=["py"])
        image, log = client.images.build(fileobj=io.BytesIO(b"FROM busybox\\nRUN echo fileobj\\n"), nocache=True)
        assert "fileobj\\n" in "".join(x.get("stream", "") for x in log)
        b = io.BytesIO()
        with tarfile.open(fileobj=b, mode="w:gz") as t:
            i = tarfile.TarInfo("Dockerfile")
            data = b"FROM busybox\\nRUN echo custom\\n"
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
        b.seek(0)
        image, log = client.images.build(fileobj=b, custom_context=True, encoding="gzip", tag="custom")
        assert client.images.get("custom").id == image.id
        try:
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\\nRUN exit 5\\n"))
            raise SystemExit("no error")
        except docker.errors.BuildError as e:
            assert "returned a non-zero code: 5" in str(e), e
            assert any("Step 2/2" in x.get("stream", "") for x in e.build_log)
        try:
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\\nNOPE\\n"))
            raise SystemExit("no error")
        except docker.errors.APIError as e:
            assert e.status_code == 400 and "unknown instruction: NOPE" in str(e), e
    """)
    run([w.clients / "venv/bin/python", "-c", script], env=d.env()).ok()


def test_a_client_that_leaves(w):
    """A client that goes away takes its step with it."""
    d = base(w)
    body = tar({"Dockerfile": "FROM busybox\nRUN echo began; sleep 987\n"})
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(d.socket))
        s.sendall(b"POST /v1.43/build HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        seen = b""
        while b"began" not in seen:
            part = s.recv(65536)
            check(part, seen)
            seen += part
    wait_for(lambda: not any(b"sleep\x00987" in open(f"/proc/{p}/cmdline", "rb").read() for p in os.listdir("/proc") if p.isdigit()), "the step's end")
    d.alive()
