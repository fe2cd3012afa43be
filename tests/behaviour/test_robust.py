# SPDX-License-Identifier: Apache-2.0
"""Many builds at once, clients that vanish, a daemon that is killed: nothing is lost, nothing is left."""
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import threading

from harness import check, contains, equal, own, tar_of, wait_for, weight


def steps_running(d):
    """Processes whose root is one of the daemon's layers: the steps' own."""
    marks = []
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                with open(f"/proc/{p}/cmdline", "rb") as f:
                    line = f.read()
            except OSError:
                continue
            if b"MARK-" in line and b"docker-buildx" not in line and b"buildctl" not in line:
                marks.append((p, line))
    return marks


def accounted(d):
    """Each layer has its row and each row its layer; nothing is half made. The daemon is not running."""
    con = sqlite3.connect(next(d.root.glob("*.db*")) if not (d.root / "minke.db").exists() else d.root / "minke.db")
    try:
        equal(con.execute("pragma integrity_check").fetchone()[0], "ok", "integrity_check")
        tables = {r[0] for r in con.execute("select name from sqlite_master where type = 'table'")}
        check("layers" in tables, f"tables: {tables}")
        rows = {r[0] for r in con.execute("select id from layers")}
    finally:
        con.close()
    folders = {x.name for x in (d.root / "layers").iterdir()}
    check(rows <= folders, f"rows without a folder: {rows - folders}")
    return rows, folders


def mounts(d):
    with open("/proc/self/mounts") as f:
        return [line.split()[1] for line in f if str(d.folder) in line]


@weight(8)
def test_fifty_builds_at_once(w):
    d = w.daemon()
    d.docker("build", "-q", w.context("FROM busybox\nRUN true\n")).ok()
    shared = w.context("FROM busybox\nARG N\nCOPY f /f\nRUN echo shared > /s\nRUN echo $N > /n\n", f="f")
    running = [d.spawn(w.clients / "bin/docker", "build", "-q", "-t", f"many:{n}", "--build-arg", f"N={n}", shared) for n in range(50)]
    for n, p in enumerate(running):
        out = p.communicate()[0].decode()
        check(p.returncode == 0, f"build {n}: {out[-1500:]}")
    listed = d.docker("images", "--format", "{{.Tag}}", "many").ok().out.split()
    equal(sorted(listed, key=int), [str(n) for n in range(50)], "tags")
    for n in (0, 23, 49):
        equal(d.docker("run", "--rm", f"many:{n}", "cat", "/n", "/s", "/f").ok().out, f"{n}\nshared\nf", f"output of {n}")


SLOW = """FROM busybox
COPY . /ctx/
RUN --mount=type=secret,id=s --mount=type=cache,target=/c echo one > /1
RUN echo two > /2 && sh -c ': MARK-step; i=0; while [ $i -lt 60 ]; do sleep 1; i=$((i+1)); done'
"""


def settled(d):
    """No step of a build is left, and none of its mounts."""
    wait_for(lambda: not steps_running(d), "the steps of an abandoned build end", 20)
    status = d.json("GET", "/info")
    check(status is not None, status)


@weight(6)
def test_client_killed_at_each_row(w):
    """kill -9 of buildctl when it has shown the n-th row of its progress, for each n."""
    d = w.daemon()
    c = w.context(SLOW, **{f"f{n}": "x" * 100000 for n in range(20)}, secret="s")
    seen = 0
    for n in range(0, 40, 2):
        with open(c / "f0", "w") as f:
            f.write(str(n))
        p = subprocess.Popen([w.clients / "bin/docker", "buildx", "build", "--progress=rawjson", "--no-cache", "--secret", f"id=s,src={c}/secret", c],
                             env=d.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        for _ in range(n):
            line = p.stderr.readline()
            if not line or b"RUN echo two" in line and b'"started"' in line:
                break
            seen += 1
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        p.stderr.close()
        d.alive()
    check(seen > 20, "the clients showed no progress")
    settled(d)
    d.docker("build", "-q", w.context("FROM busybox\nRUN echo after > /x\n")).ok()


class Cutter:
    """Forwards a unix socket and closes both ends when `limit` bytes went one way."""

    def __init__(self, path, to, limit, way):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.to, self.limit, self.way = str(to), limit, way
        self.lock = threading.Lock()
        self.sent, self.all, self.was_cut = 0, [], False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                a, _ = self.server.accept()
            except OSError:
                return
            b = socket.socket(socket.AF_UNIX)
            b.connect(self.to)
            with self.lock:
                self.all += [a, b]
            threading.Thread(target=self.pump, args=(a, b, "up"), daemon=True).start()
            threading.Thread(target=self.pump, args=(b, a, "down"), daemon=True).start()

    def pump(self, src, dst, way):
        try:
            while data := src.recv(4096):
                if way == self.way:
                    with self.lock:
                        self.sent += len(data)
                        over = self.sent - self.limit
                    if over >= 0:
                        dst.sendall(data[:max(0, len(data) - over)])
                        self.was_cut = True
                        self.close()
                        return
                dst.sendall(data)
            dst.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        with self.lock:
            for s in self.all:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()
            self.all = []
        self.server.close()


@weight(6)
def test_connection_cut_after_n_bytes(w):
    """All of a client's connections end at once after n bytes up or down, for 40 n over the whole conversation."""
    d = w.daemon()
    c = w.context("FROM busybox\nCOPY . /x/\nRUN echo a > /a\nRUN echo b > /b\n")

    def build(limit, way):
        for n in range(20):
            (c / f"f{n}").write_text(os.urandom(2000).hex())
        path = w.folder("p") / "s"
        cut = Cutter(path, d.socket, limit, way)
        r = d.docker("build", "--no-cache", c, env={"DOCKER_HOST": f"unix://{path}"}, timeout=60)
        sent = cut.sent
        cut.close()
        return r, sent, cut.was_cut

    for way in ("up", "down"):
        r, total, _ = build(1 << 40, way)
        r.ok()
        for i in range(1, 20):
            limit = total * i // 20
            r, _, was_cut = build(limit, way)
            check(r.code != 0 or not was_cut or i > 15, f"cut {way} after {limit} of {total} bytes, and the client is content")
            d.alive()
    settled(d)
    d.docker("build", "-q", "--no-cache", c).ok()


@own
@weight(9)
def test_daemon_killed_at_random_points(w):
    """kill -9 at 20 points of a build; after a restart images, cache and folders are whole and the next build works."""
    d = w.daemon()
    d.docker("build", "-q", "-t", "keep", w.context("FROM busybox\nRUN echo kept > /k\nCOPY f /f\n", f="f")).ok()
    keep = d.docker("images", "-q", "--no-trunc", "keep").ok().out
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    for turn in range(20):
        text = f"FROM busybox\nCOPY . /c/\nRUN echo {turn} > /1; head -c 3000000 /dev/zero > /big\nRUN echo 2 > /2\nRUN --mount=type=cache,target=/v echo 3 > /v/3\nRUN echo 4 > /4\n"
        c = w.context(text, **{f"f{n}": os.urandom(20000).hex() for n in range(10)})
        p = subprocess.Popen([w.clients / "bin/docker", "buildx", "build", "--progress=rawjson", "-t", f"turn:{turn}", c], env=d.env(),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(rng.randrange(2, 60)):
            if not p.stderr.readline():
                break
        d.kill(signal.SIGKILL)
        p.stderr.read()
        p.wait()
        rows, folders = accounted(d)
        d.start()
        what = f"seed {seed}, turn {turn}"
        equal(d.docker("images", "-q", "--no-trunc", "keep").ok().out, keep, f"{what}: the image that was there")
        equal(d.docker("run", "--rm", "keep", "cat", "/k", "/f").ok().out, "kept\nf", what)
        r = d.docker("build", "--progress=plain", "-t", f"turn:{turn}", c).ok()
        equal(d.docker("run", "--rm", f"turn:{turn}", "cat", "/1", "/2", "/4").ok().out, f"{turn}\n2\n4\n", what)
        if turn % 5 == 4:
            d.stop()
            rows, folders = accounted(d)
            equal(rows, folders, f"{what}: rows and folders of layers")
            equal(mounts(d), [], f"{what}: mounts left")
            d.start()
    r = d.docker("build", "--progress=plain", w.context("FROM busybox\nRUN echo kept > /k\nCOPY f /f\n", f="f")).ok()
    equal(len(re.findall(r"^#\d+ CACHED", r.err, re.M)), 2, f"steps still cached:\n{r.err}")


def test_cancel_ends_the_step(w):
    d = w.shared()
    c = w.context("FROM busybox\nRUN sh -c ': MARK-cancel; trap \"\" TERM INT; sleep 300 & sleep 300; true'\n")
    p = d.spawn(w.clients / "bin/docker", "build", "--progress=plain", c, process_group=0)
    wait_for(lambda: any(b"MARK-cancel" in line for _, line in steps_running(d)), "the step runs", 30)
    os.killpg(p.pid, signal.SIGINT)  # as a terminal does: Debian's CLI leaves it to its plugin
    out = p.communicate()[0].decode()
    check(p.returncode != 0, out)
    wait_for(lambda: not any(b"MARK-cancel" in line for _, line in steps_running(d)), "the step's processes end", 10)
    d.docker("build", "-q", w.context("FROM busybox\nRUN echo after > /y\n")).ok()


def test_build_cancel(w):
    """POST /build/cancel, as the classic client's BuildKit mode sends it: the build ends, and its step with it."""
    d = w.shared()
    text = b"FROM busybox\nRUN sh -c ': MARK-id; sleep 300; true'\n"
    answer = []
    build = threading.Thread(target=lambda: answer.append(d.http("POST", "/build?version=2&buildid=mine", tar_of([("Dockerfile", "f", 0o644, 0, 0, text)]),
                                                                 {"Content-Type": "application/x-tar"})))
    build.start()
    wait_for(lambda: any(b"MARK-id" in line for _, line in steps_running(d)), "the step runs", 30)
    equal(d.http("POST", "/build/cancel?id=another")[0], 200, "an unknown build")
    check(build.is_alive(), "another build was meant")
    equal(d.http("POST", "/build/cancel")[0], 400, "no build")
    equal(d.http("POST", "/build/cancel?id=mine")[0], 200, "the build")
    build.join()
    contains(answer[0][2].decode(), "context canceled", "the build's end")
    wait_for(lambda: not any(b"MARK-id" in line for _, line in steps_running(d)), "the step's processes end", 10)


@own
def test_sigterm_during_a_build(w):
    d = w.daemon()
    p = d.spawn(w.clients / "bin/docker", "build", "--progress=plain", w.context("FROM busybox\nRUN sh -c ': MARK-term; sleep 300; true'\n"))
    wait_for(lambda: any(b"MARK-term" in line for _, line in steps_running(d)), "the step runs", 30)
    d.process.terminate()
    d.process.wait(40)
    out = p.communicate()[0].decode()
    check(p.returncode != 0, out)
    check(not any(b"MARK-term" in line for _, line in steps_running(d)), "a step outlived its daemon")
    equal(mounts(d), [], "mounts left")
    rows, folders = accounted(d)
    equal(rows, folders, "rows and folders of layers")


@own  # a killed dockerd leaves its network behind, and the next one does not start beside it
def test_errors_of_a_dead_daemon_are_clear(w):
    d = w.daemon()
    p = d.spawn(w.clients / "bin/docker", "build", "--progress=plain", w.context("FROM busybox\nRUN sh -c ': MARK-dead; sleep 300; true'\n"))
    wait_for(lambda: any(b"MARK-dead" in line for _, line in steps_running(d)), "the step runs", 30)
    d.kill()
    out = p.communicate()[0].decode()
    check(p.returncode != 0, out)
    contains(out, "ERROR: failed to build")
    d.start()
    d.docker("build", "-q", w.context("FROM busybox\nRUN echo again > /z\n")).ok()
    check(not any(b"MARK-dead" in line for _, line in steps_running(d)), "a step outlived its daemon and the next one's start")
