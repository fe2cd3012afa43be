# SPDX-License-Identifier: Apache-2.0
"""The gateway: containers that a build's client drives, frontends that are images, shells in failed steps."""
import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess

import harness
from harness import Image, check, contains, equal, own, run, tar_of, weight

GATE = harness.HERE / "gate"
CAPS = {"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"}


def gate(w):
    return harness.go_program(w.clients, GATE)


def push_program(w, repo, program, entrypoint, **config):
    """An image of one static program."""
    layer = tar_of([("tmp", "d", 0o1777, 0, 0, None), ("program", "f", 0o755, 0, 0, program.read_bytes())])
    return w.registry.push(repo, "latest", Image([layer], {"Entrypoint": [entrypoint], "WorkingDir": "/", "Labels": CAPS, **config}))


def gate_frontend(w):
    if not hasattr(w, "gate_pushed"):
        w.gate_pushed = push_program(w, "library/gate", gate(w), "/program")
    return "docker.io/library/gate:latest"


def cases():
    program = harness.go_program(harness.prepare(), GATE)
    for name in subprocess.run([program, "list"], capture_output=True, check=True).stdout.decode().split():
        def case(w, name=name):
            d = w.face("buildkitd")
            run([gate(w), "-socket", d.socket, name], timeout=120).ok()
            d.alive()
        yield f"client.{name}", case


def frontend(w, d, mode, *more, out=None, **kw):
    args = ["build", "--frontend", "gateway.v0", "--opt", f"source={gate_frontend(w)}", "--opt", f"mode={mode}", *more]
    if out is not None:
        args += ["--output", f"type=local,dest={out}"]
    return d.buildctl(*args, **kw)


def test_frontend_image(w):
    """What a frontend image is told, and what it may ask."""
    d = w.face("buildkitd")
    out = w.folder("out")
    frontend(w, d, "facts", "--opt", "build-arg:X=a value", out=out).ok()
    equal((out / "facts").read_text(), "session true\nproduct buildkit\nworkers 1 linux\ndefinition true <nil>\ninputs 0 <nil>\n"
          "opt a value\nnetwork true\n", "facts")
    for mode, name, text in (("nested", "nested", "nested\n"), ("container", "out", "from a container\n")):
        out = w.folder("out")
        frontend(w, d, mode, out=out).ok()
        equal((out / name).read_text(), text, mode)


@own
def test_frontend_usage(w):
    """What a frontend's image takes is listed as a frontend's, and a plain prune leaves it."""
    d = w.daemon(name="buildkitd")
    frontend(w, d, "facts").ok()
    equal(len(d.buildctl("du", "--filter", "type==frontend").ok().out.splitlines()) > 1, True, "records of the frontend")
    before = d.buildctl("du", "--filter", "type==frontend", "--format", "{{range .}}{{.ID}} {{end}}").ok().out
    check(before.strip(), "no record is a frontend's")
    d.buildctl("prune").ok()
    equal(d.buildctl("du", "--filter", "type==frontend", "--format", "{{range .}}{{.ID}} {{end}}").ok().out, before, "after a prune")


def test_frontend_without_network(w):
    d = w.face("buildkitd")
    push_program(w, "library/quiet", gate(w), "/program", Labels={**CAPS, "moby.buildkit.frontend.network.none": "true"})
    out = w.folder("out")
    d.buildctl("build", "--frontend", "gateway.v0", "--opt", "source=quiet", "--opt", "mode=facts", "--output", f"type=local,dest={out}").ok()
    contains((out / "facts").read_text(), "network false")


def test_bad_frontends(w):
    """They end, say why, and leave the daemon whole."""
    d = w.face("buildkitd")
    for mode, text in (("refuse", "this frontend refuses"), ("crash", "exit code: 3: the frontend is on fire"), ("silent", "no result for incomplete build"), ("garbage", "frontend grpc server closed unexpectedly"),
                       ("flood", "exit code: 4: the flood ends")):
        frontend(w, d, mode, timeout=100).fails(text)
    d.alive()
    frontend(w, d, "facts").ok()
    check(len(d.text_log()) < 8 << 20, "the log took all that a frontend said")


@own
def test_frontend_that_never_returns(w):
    """Its client gives up: the container goes at once."""
    d = w.daemon(name="buildkitd")
    p = d.spawn(w.clients / "bin/buildctl", "build", "--frontend", "gateway.v0", "--opt", f"source={gate_frontend(w)}", "--opt", "mode=never")
    harness.wait_for(lambda: "the frontend sleeps" in d.text_log(), "the frontend")
    p.kill()
    p.wait()
    harness.wait_for(lambda: not containers_of(d), "the end of the frontend's container")
    d.alive()


def containers_of(d):
    """Processes named /program below the daemon."""
    r = subprocess.run(["pgrep", "-x", "program"], capture_output=True, check=False).stdout.split()
    return r


def test_syntax_line(w):
    """# syntax= names a frontend image; the docker CLI and BUILDKIT_SYNTAX."""
    d = w.shared()
    gate_frontend(w)
    r = d.docker("build", "--progress=plain", w.context("# syntax=gate\nnonsense\n")).fails('unknown mode ""')
    contains(r.err, "resolve image config for docker-image://docker.io/library/gate:latest")
    contains(r.err, "Dockerfile:1")
    d.docker("build", "--build-arg", "BUILDKIT_SYNTAX=gate", w.context("FROM busybox\n")).fails('unknown mode ""')
    d.docker("build", w.context("# syntax=no-such-frontend\nFROM busybox\n")).fails("no-such-frontend")


@weight(3)
def test_real_dockerfile_frontend(w):
    """BuildKit's own Dockerfile frontend as an image, by digest and by name, for docker build and buildctl."""
    program = w.clients / "bin" / "dockerfile-frontend-v0.34.2"
    if not program.exists():
        part = program.with_suffix(f".{os.getpid()}")
        subprocess.run(["go", "build", "-trimpath", "-o", part, "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend"],
                       cwd=harness.TOP / "tests/conformance", check=True, env={**harness.go_environment(), "CGO_ENABLED": "0"})
        part.rename(program)
    digest = push_program(w, "docker/dockerfile", program, "/program")
    push_program(w, "library/df", program, "/program")
    text = "FROM busybox AS base\nRUN echo by the image > /x\nFROM scratch\nCOPY --from=base /x /x\nCOPY <<EOF /here\ndoc\nEOF\n"
    for syntax in ("df", f"docker/dockerfile@{digest}"):
        c = w.context(f"# syntax={syntax}\n{text}")
        d = w.shared()
        r = d.docker("build", "--progress=plain", "-t", "viaimage", c).ok()
        contains(r.err, "RUN echo by the image")
        out = w.folder("out")
        b = w.face("buildkitd")
        b.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--output",
                   f"type=local,dest={out}").ok()
        equal((out / "x").read_text() + (out / "here").read_text(), "by the image\ndoc\n", "files")
    w.shared().docker("build", w.context("# syntax=df\nFROM busybox\nRUN exit 3\n")).fails("exit code: 3", "Dockerfile:3")
    w.shared().docker("build", w.context("# syntax=df\nFORM busybox\n")).fails("unknown instruction: FORM")


@own
def test_allowed_repositories(w):
    """buildkitd.toml says whose images may be frontends."""
    d = w.daemon(name="buildkitd")
    gate_frontend(w)
    d.stop()
    base = d.command

    def command():
        r = base()
        with open(d.folder / "buildkitd.toml", "a") as f:
            f.write('[frontend."gateway.v0"]\n  allowedRepositories = ["docker.io/other/frontend"]\n')
        return r
    d.command = command
    d.start()
    frontend(w, d, "facts").fails("'docker.io/library/gate:latest' is not an allowed gateway source")
    for syntax in ("gate", "docker/dockerfile:1"):
        c = w.context(f"# syntax={syntax}\nFROM scratch\nCOPY Dockerfile /\n")
        d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}").fails(
            f"'{syntax}' is not an allowed gateway source")
    c = w.context("FROM scratch\nCOPY Dockerfile /\n")
    d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}").ok()


# ---- shells in failed steps ----------------------------------------------------------------------------------------------

FAILING = "FROM busybox\nRUN echo left > /left && exit 7\n"


def read_until(fd, text):
    had = b""
    while text not in had:
        ready = select.select([fd], [], [], 20)[0]
        try:
            piece = os.read(fd, 4096) if ready else b""
        except OSError:
            piece = b""
        check(piece, f"the client said {had.decode(errors='replace')[-2000:]!r}, not {text!r}")
        had += piece
    return had.decode(errors="replace")


def test_debug_shell(w):
    """buildx debug --invoke gives a shell in the state that a failed step left."""
    d = w.shared()
    c = w.context(FAILING)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(d.env(BUILDX_EXPERIMENTAL="1", TERM="xterm"))
        os.execv(str(w.clients / "bin/docker"), ["docker", "buildx", "debug", "--invoke", "/bin/sh", "build", "--progress=plain", str(c)])
    try:
        read_until(fd, b"/ # ")
        os.write(fd, b"cat /left; echo shell-$((40+2))\n")
        contains(read_until(fd, b"shell-42"), "left")
        os.write(fd, b"exit\n")
        read_until(fd, b"(buildx) ")
        os.write(fd, b"exit\n")
    finally:
        os.close(fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    d.alive()


class Dap:
    """A debugger's side of the debug adapter protocol, over a program's stdin and stdout."""

    def __init__(self, process):
        self.process, self.serial, self.waiting = process, 0, []

    def send(self, kind, **more):
        self.serial += 1
        text = json.dumps({"seq": self.serial, "type": kind, **more}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        self.process.stdin.flush()
        return self.serial

    def request(self, command, **arguments):
        return self.send("request", command=command, arguments=arguments)

    def receive(self):
        check(select.select([self.process.stdout], [], [], 20)[0], f"the adapter is silent; it said {self.waiting}")
        length = None
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        check(length is not None, f"the adapter ended; it said {self.waiting}")
        text = b""
        while len(text) < length:
            text += self.process.stdout.read(length - len(text))
        return json.loads(text)

    def until(self, wanted):
        while True:
            for i, m in enumerate(self.waiting):
                if wanted(m):
                    return self.waiting.pop(i)
            self.waiting.append(self.receive())

    def answer(self, serial):
        m = self.until(lambda m: m["type"] == "response" and m["request_seq"] == serial)
        check(m["success"], f"{m}")
        return m.get("body") or {}

    def event(self, name):
        return self.until(lambda m: m["type"] == "event" and m["event"] == name).get("body") or {}


def test_dap(w):
    """buildx dap stops at the failing step and attaches a shell to it."""
    d = w.shared()
    c = w.context(FAILING)
    p = subprocess.Popen([w.clients / "cli-plugins/docker-buildx", "dap", "build", str(c)], env=d.env(BUILDX_EXPERIMENTAL="1"),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    try:
        dap = Dap(p)
        dap.answer(dap.request("initialize", supportsRunInTerminalRequest=True))
        launch = dap.request("launch", contextPath=str(c), dockerfile=str(c / "Dockerfile"))
        dap.event("initialized")
        dap.answer(dap.request("configurationDone"))
        dap.answer(launch)
        stopped = dap.event("stopped")
        equal(stopped["reason"], "exception", "why it stopped")
        evaluate = dap.request("evaluate", expression="exec", context="repl")
        ask = dap.until(lambda m: m["type"] == "request" and m["command"] == "runInTerminal")
        address = ask["arguments"]["args"][-1]
        dap.send("response", request_seq=ask["seq"], success=True, command="runInTerminal", body={})
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(address)
            had = b""
            for say, wanted in ((b"", b"# "), (b"cat /left; echo shell-$((40+2))\n", b"shell-42")):  # what is typed before the prompt may be lost
                s.sendall(say)
                while wanted not in had:
                    piece = s.recv(4096)
                    check(piece, f"the shell ended: {had!r}")
                    had += piece
            contains(had.decode(), "left\r\nshell-42")
            dap.answer(evaluate)
    finally:
        p.kill()
        p.communicate()
    d.alive()
