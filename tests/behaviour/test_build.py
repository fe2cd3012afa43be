# SPDX-License-Identifier: Apache-2.0
"""docker build, end to end, through every door."""
import json

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
