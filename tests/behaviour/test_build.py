# SPDX-License-Identifier: Apache-2.0
"""docker build, end to end, through every door."""
import json
import tarfile

from harness import TOP, check, contains, equal, go_program, run, tar_of


def test_first_build(w):
    d = w.daemon()
    c = w.context("FROM busybox\nRUN echo hello > /hello\nCOPY f /f\n", f="content\n")
    r = d.docker("build", "--progress=plain", "-t", "t1", c).ok()
    contains(r.err, "naming to docker.io/library/t1")
    contains(d.docker("images", "t1").ok().out, "t1")
    equal(d.docker("run", "--rm", "t1", "cat", "/hello", "/f").ok().out, "hello\ncontent\n", "output")
    r = d.docker("build", "--progress=plain", "-t", "t1", c).ok()
    contains(r.err, "CACHED")
    check("DONE" in r.err and "RUN echo hello" in r.err, r.err)


def test_docker20_stdin(w):
    """It sends what comes on standard input by a request of its own."""
    d = w.shared()
    archive = tar_of([("Dockerfile", "f", 0o644, 0, 0, b"FROM busybox\nCOPY a /b\n"), ("a", "f", 0o644, 0, 0, b"from a tar\n")])
    d.docker20("build", "-t", "piped", "-", stdin=archive).ok()
    equal(d.docker20("run", "--rm", "piped", "cat", "/b").ok().out, "from a tar\n", "output")
    d.docker20("build", "-t", "text", "-", stdin=b"FROM busybox\nRUN echo text > /t\n").ok()
    equal(d.docker20("run", "--rm", "text", "cat", "/t").ok().out, "text\n", "output")


def test_docker20(w):
    d = w.shared()
    c = w.context("FROM busybox\nCOPY a /a\nRUN cat /a > /b\n", a="from an old client\n")
    d.docker20("build", "-t", "old", c).ok()
    equal(d.docker20("run", "--rm", "old", "cat", "/b").ok().out, "from an old client\n", "output")


def test_buildctl_plain_http2(w):
    d = w.shared()
    c = w.context("FROM busybox\nRUN echo ctl > /x\n")
    out = w.folder("out")
    d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--output",
               f"type=local,dest={out}").ok()
    equal((out / "x").read_text(), "ctl\n", "exported file")


def test_failing_step(w):
    d = w.shared()
    c = w.context("FROM busybox\nRUN echo before && exit 7\n")
    r = d.docker("build", "--progress=plain", c)
    r.fails("process \"/bin/sh -c echo before && exit 7\" did not complete successfully: exit code: 7", "Dockerfile:2", ">>> RUN echo before && exit 7")


def test_syntax_error(w):
    d = w.shared()
    r = d.docker("build", w.context("FROM busybox\nRUNN true\n"))
    r.fails("dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)", "Dockerfile:2")


def test_outputs(w):
    d = w.shared()
    c = w.context("FROM scratch\nCOPY a /a\n", a="A")
    out = w.folder("out")
    d.docker("build", "-o", f"type=local,dest={out / 'l'}", c).ok()
    equal((out / "l/a").read_text(), "A", "local")
    for kind in ("tar", "oci", "docker"):
        d.docker("build", "-o", f"type={kind},dest={out / kind}", c).ok()
        check((out / kind).stat().st_size > 0, kind)
    d.docker("load", "-i", out / "docker").ok()
    d.docker("load", "-i", out / "oci").ok()


def test_config(w):
    d = w.shared()
    c = w.context("FROM busybox\nENV A=b\nWORKDIR /w\nUSER 1:2\nEXPOSE 80\nVOLUME /v\nLABEL k=v\nENTRYPOINT [\"/bin/echo\"]\nCMD [\"x\"]\nSTOPSIGNAL SIGINT\n")
    d.docker("build", "-t", "cfg", c).ok()
    i = json.loads(d.docker("inspect", "cfg").ok().out)[0]["Config"]
    equal(i["WorkingDir"], "/w", "WorkingDir")
    equal(i["User"], "1:2", "User")
    equal(i["Entrypoint"], ["/bin/echo"], "Entrypoint")
    equal(i["Labels"], {"k": "v"}, "Labels")
    check("A=b" in i["Env"], i["Env"])


def test_flags_that_name_results(w):
    d = w.shared()
    c = w.context("FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /a\nFROM one AS two\nRUN cat /proc/sys/kernel/random/uuid > /b\n")
    iid, md = w.tmp / "iid", w.tmp / "flags.json"
    r = d.docker("buildx", "build", "--quiet", "--iidfile", iid, "--metadata-file", md, "--file", c / "Dockerfile", "--tag", "flags:1",
                 "--tag", "flags:2", "--label", "x=y", c).ok()
    equal(r.err, "", "what --quiet says")
    equal(r.out, iid.read_text() + "\n", "the id")
    equal(json.loads(md.read_text())["containerimage.digest"], iid.read_text(), "the id of --metadata-file")
    for tag in ("flags:1", "flags:2"):
        image = d.json("GET", f"/v1.51/images/{tag}/json")
        equal((image["Id"], image["Config"]["Labels"]), (iid.read_text(), {"x": "y"}), tag)
    d.docker("buildx", "build", "--annotation", "a.b/c=d", "--output", f"type=oci,dest={w.tmp}/flags.tar", c).ok()
    with tarfile.open(w.tmp / "flags.tar") as t:
        index = json.loads(t.extractfile("index.json").read())
        name = index["manifests"][0]["digest"].removeprefix("sha256:")
        manifest = json.loads(t.extractfile(f"blobs/sha256/{name}").read())
    equal(manifest.get("annotations"), {"a.b/c": "d"}, "annotations")


def test_no_cache_filter(w):
    d = w.shared()
    c = w.context("FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /a\nFROM busybox AS two\nRUN cat /proc/sys/kernel/random/uuid > /b\n"
                  "FROM scratch\nCOPY --from=one /a /\nCOPY --from=two /b /\n")

    def made(*args):
        out = w.folder("o")
        d.docker("buildx", "build", *args, "-o", out, c).ok()
        return (out / "a").read_text(), (out / "b").read_text()

    a, b = made()
    equal(made(), (a, b), "from the cache")
    equal(made("--no-cache-filter", "two")[0], a, "the stage that is not named")
    a2, b2 = made("--no-cache-filter", "one,two")
    check(a2 != a and b2 != b, "both stages ran again")
    a3, b3 = made("--no-cache")
    check(a3 != a2 and b3 != b2, "all ran again")


def test_limits_of_steps(w):
    d = w.shared()
    show = "cat /proc/self/cgroup; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; ulimit -n; df -k /dev/shm | tail -1; cat /etc/hosts"
    c = w.context(f"FROM busybox\nRUN {show}\n")
    out = d.docker("buildx", "build", "--progress=plain", "--no-cache", "--cgroup-parent", "/own-parent", "--resource", "memory=64m", "--ulimit", "nofile=77:88",
                   "--shm-size", "3m", "--add-host", "h.example:10.1.2.3", c).ok().err
    for part in ("67108864", " 77\n", " 3072 ", "10.1.2.3\th.example"):
        contains(out, part)
    d.docker("buildx", "build", "--resource", "memory=x", c).fails("memory")
    d.docker("buildx", "build", "--resource", "nonsense=1", c).fails("nonsense")


def test_go_program(w):
    """BuildKit's own client package over POST /grpc with POST /session, and over plain HTTP/2."""
    d = w.shared()
    program = go_program(w.clients, TOP / "examples/go")
    c = w.context("FROM busybox\nCOPY f /f\nRUN echo by a program > /p\n", f="f")
    r = run([program, "-socket", d.socket, "-tag", "goprog", c], env=d.env()).ok()
    contains(r.out, "digest: sha256:")
    contains(r.out, "docker.io/library/goprog:latest")
    equal(d.docker("run", "--rm", "goprog", "cat", "/p").ok().out, "by a program\n", "output")
    b = w.face("buildkitd")
    r = run([program, "-socket", b.socket, "-direct", "-export", "none", c], env=b.env()).ok()
    contains(r.err, "RUN echo by a program")
    run([program, "-socket", d.socket, w.context("FROM busybox\nRUN exit 4\n")], env=d.env()).fails("exit code: 4")
