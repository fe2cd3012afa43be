# SPDX-License-Identifier: Apache-2.0
"""The world of the behaviour tests: a real daemon, a real registry, real clients, all below one temporary folder.

    env = World(build)            # starts a docker-registry with base images, no daemon yet
    d = env.daemon()              # a minked with an empty store on a socket of its own
    d.docker("build", ".", ...)   # the docker CLI with buildx against it -> Result(code, out, err)

Nothing waits by sleeping: start-up waits until a socket accepts, everything else waits for a process or an answer.
"""
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent


class Failure(AssertionError):
    pass


def own(fn):
    """Marks a test that the real engines are not asked."""
    fn.own = True
    return fn


def weight(n):
    """Marks a test that takes long: heavy ones start first."""
    def mark(fn):
        fn.weight = n
        return fn
    return mark


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(have, want, what):
    if have != want:
        raise Failure(f"{what}:\n  have {have!r}\n  want {want!r}")


def contains(text, part, what="output"):
    if part not in text:
        raise Failure(f"{what} lacks {part!r}:\n{text[-3000:]}")


class Result:
    def __init__(self, code, out, err, args):
        self.code, self.out, self.err, self.args = code, out, err, args

    def ok(self):
        if self.code != 0:
            raise Failure(f"{' '.join(map(str, self.args))}: exit {self.code}\n{self.out[-2000:]}\n{self.err[-4000:]}")
        return self

    def fails(self, *parts):
        check(self.code != 0, f"{' '.join(map(str, self.args))}: succeeded, should fail\n{self.out[-2000:]}")
        for p in parts:
            contains(self.out + self.err, p)
        return self


def run(args, env=None, stdin=None, timeout=300, cwd=None):
    p = subprocess.run([str(a) for a in args], env=env, input=stdin, capture_output=True, timeout=timeout, cwd=cwd)
    return Result(p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace"), args)


def wait_for(probe, what, seconds=15):
    """Poll a condition of another process until it holds; only for start-up and shut-down."""
    end = time.monotonic() + seconds
    while True:
        v = probe()
        if v:
            return v
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        select.select([], [], [], 0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def go_environment():
    """Where a new enough Go is on PATH."""
    folder = subprocess.run([TOP / "tests/clients/golang"], check=True, stdout=subprocess.PIPE).stdout.decode().strip()
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def prepare():
    """Fetch the clients and build our own programs on BuildKit's client, once; -> the folder of the clients."""
    folder = pathlib.Path(subprocess.run([TOP / "tests/clients/setup"], check=True, stdout=subprocess.PIPE).stdout.decode().strip())
    for source in (TOP / "examples/go", HERE / "liar", HERE / "gate", HERE / "crowd", HERE / "ops"):
        program = go_program(folder, source)
        if not program.exists():
            part = program.with_suffix(f".{os.getpid()}")
            subprocess.run(["go", "build", "-trimpath", "-o", part, "."], cwd=source, check=True,
                           env={**go_environment(), "CGO_ENABLED": "0"})
            part.rename(program)
    return folder


def go_program(clients, source):
    """Where the program made of that folder is kept: by its text, and that of the package that they share."""
    text = b"".join(f.read_bytes() for f in (*sorted(source.glob("*.go")), source / "go.mod", TOP / "examples/go/dial/dial.go"))
    return clients / "bin" / f"{source.parent.name}-{source.name}-{hashlib.sha256(text).hexdigest()[:16]}"


# ---- images ------------------------------------------------------------------------------------------------------------

def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(entries):
    """entries: (name, kind, mode, uid, gid, content or link target); kind in f d l h."""
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, kind, mode, uid, gid, value in entries:
            i = tarfile.TarInfo(name)
            i.mode, i.uid, i.gid, i.mtime = mode, uid, gid, 1700000000
            i.type = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE}[kind]
            if kind in "lh":
                i.linkname = value
            data = value if kind == "f" else b""
            i.size = len(data) if kind == "f" else 0
            t.addfile(i, io.BytesIO(data) if kind == "f" else None)
    return b.getvalue()


def busybox_layer():
    path = shutil.which("busybox") or "/bin/busybox"
    binary = pathlib.Path(path).read_bytes()
    applets = subprocess.run([path, "--list"], capture_output=True, check=True).stdout.decode().split()
    e = [(d, "d", 0o755, 0, 0, None) for d in ("bin", "etc", "home", "root", "usr", "usr/bin", "usr/sbin", "var", "dev", "proc", "sys")]
    e.append(("tmp", "d", 0o1777, 0, 0, None))
    e.append(("bin/busybox", "f", 0o755, 0, 0, binary))
    e += [(f"bin/{a}", "l", 0o777, 0, 0, "busybox") for a in applets if a != "busybox"]
    e.append(("etc/passwd", "f", 0o644, 0, 0,
              b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
    e.append(("etc/group", "f", 0o644, 0, 0, b"root:x:0:\ndaemon:x:1:\nusers:x:100:root,daemon\nnogroup:x:65534:\n"))
    return tar_of(e)


class Image:
    """An image for one platform: config, layers (uncompressed tars), pushed with gzip."""

    def __init__(self, layers, config=None, arch="amd64", variant=None, history=None):
        cfg = {"architecture": arch, "os": "linux", "config": config or {}, "created": "2024-01-01T00:00:00Z",
               "rootfs": {"type": "layers", "diff_ids": [sha(x) for x in layers]},
               "history": history or [{"created": "2024-01-01T00:00:00Z", "created_by": "made by tests"} for _ in layers]}
        if variant:
            cfg["variant"] = variant
        self.arch, self.variant = arch, variant
        self.config = json.dumps(cfg).encode()
        self.blobs = [gzip.compress(x, 6, mtime=0) for x in layers]
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(self.config), "size": len(self.config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(b), "size": len(b)}
                       for b in self.blobs]}).encode()


class Registry:
    """Debian's docker-registry on loopback."""

    def __init__(self, folder, htpasswd=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.port = free_port()
        auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {htpasswd}\n" if htpasswd else ""
        (self.folder / "config.yml").write_text(
            f"version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {self.folder}/data\n"
            f"  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{self.port}\n{auth}")
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", str(self.folder / "config.yml")], stdout=self.log,
                                        stderr=self.log)
        wait_for(self._accepts, "the registry")

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def _accepts(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def _call(self, method, path, body=b"", headers=None):
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        q = urllib.request.Request(url, data=body if method != "GET" else None, method=method, headers=headers or {})
        return urllib.request.urlopen(q)

    def _blob(self, repo, data):
        r = self._call("POST", f"/v2/{repo}/blobs/uploads/")
        where = r.headers["Location"]
        where += ("&" if "?" in where else "?") + "digest=" + sha(data)
        self._call("PUT", where, data, {"Content-Type": "application/octet-stream"})

    def push(self, repo, tag, image):
        """image: Image, or a list of Images for an index. Returns the digest."""
        images = image if isinstance(image, list) else [image]
        entries = []
        for i in images:
            for b in i.blobs + [i.config]:
                self._blob(repo, b)
            mt = "application/vnd.oci.image.manifest.v1+json"
            self._call("PUT", f"/v2/{repo}/manifests/{sha(i.manifest) if len(images) > 1 else tag}", i.manifest, {"Content-Type": mt})
            p = {"architecture": i.arch, "os": "linux"}
            if i.variant:
                p["variant"] = i.variant
            entries.append({"mediaType": mt, "digest": sha(i.manifest), "size": len(i.manifest), "platform": p})
        if len(images) == 1:
            return sha(images[0].manifest)
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}).encode()
        self._call("PUT", f"/v2/{repo}/manifests/{tag}", index, {"Content-Type": "application/vnd.oci.image.index.v1+json"})
        return sha(index)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


# ---- the daemon ----------------------------------------------------------------------------------------------------------

class Daemon:
    def __init__(self, world, folder, args=(), name="dockerd", config=None, env=None):
        self.world, self.folder, self.args, self.name = world, pathlib.Path(folder), list(args), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root = self.folder / "root"
        self.socket = self.folder / "s"
        self.logfile = self.folder / "daemon.log"
        self.config = config
        self.extra_env = env or {}
        self.process = None
        self.start()

    def command(self):
        peer = self.world.peer
        if self.name == "buildkitd":
            (self.folder / "buildkitd.toml").write_text(
                f'[registry."docker.io"]\n  mirrors = ["{self.world.registry.host}"]\n[registry."{self.world.registry.host}"]\n  http = true\n')
            return [self.world.binary("buildkitd"), "--root", self.root, "--addr", f"unix://{self.socket}", "--debug", "--config",
                    self.folder / "buildkitd.toml", "--allow-insecure-entitlement", "network.host",
                    *(["--containerd-worker=false", "--oci-worker-net=host", "--oci-worker-gc=false"] if peer else []), *self.args]
        (self.folder / "daemon.json").write_text(json.dumps(self.config or {"registry-mirrors": [f"http://{self.world.registry.host}"]}))
        return [self.world.binary("dockerd"), "--data-root", self.root, "--exec-root", self.folder / "exec", "--pidfile",
                self.folder / "pid", "-H", f"unix://{self.socket}", "--config-file", self.folder / "daemon.json", "--debug",
                *(["--userland-proxy=false", "--feature", "containerd-snapshotter=true"] if peer else []), *self.args]

    def start(self):
        self.log = open(self.logfile, "ab")
        self.process = subprocess.Popen([str(a) for a in self.command()], stdout=self.log, stderr=self.log,
                                        env={**os.environ, "PATH": f"{self.world.build}:{os.environ['PATH']}", **self.extra_env})
        wait_for(self._accepts, f"{self.name} (see {self.logfile})")

    def _accepts(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode}:\n{self.text_log()[-3000:]}")
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(self.socket)) == 0

    def text_log(self):
        return self.logfile.read_text(errors="replace")

    def alive(self):
        check(self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.text_log()[-3000:]}")

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        self.process.wait()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failure("the daemon did not stop within 30 s of SIGTERM")
        self.log.close()

    # clients
    def env(self, **more):
        home = self.folder / "home"
        (home / ".docker").mkdir(parents=True, exist_ok=True)
        plugins = home / ".docker" / "cli-plugins"
        if not plugins.exists():
            plugins.symlink_to(self.world.clients / "cli-plugins")
            # where the CLI is an old one, `docker build` is still buildx, as in all since 23
            (home / ".docker" / "config.json").write_text('{"aliases": {"builder": "buildx"}}')
        return {"PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(home / ".docker"),
                "BUILDKIT_HOST": f"unix://{self.socket}", "BUILDX_METADATA_PROVENANCE": "disabled", "LC_ALL": "C", **more}

    def docker(self, *args, env=None, **kw):
        return run([self.world.clients / "bin/docker", *args], env=self.env(**(env or {})), **kw)

    def docker20(self, *args, env=None, **kw):
        """Debian's CLI with the builder of its own."""
        own = {"DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.folder / "home/docker20")}
        return run([self.world.clients / "bin/docker20", *args], env=self.env(**{**own, **(env or {})}), **kw)

    def buildctl(self, *args, env=None, **kw):
        return run([self.world.clients / "bin/buildctl", *args], env=self.env(**(env or {})), **kw)

    def spawn(self, *args, env=None, **kw):
        """A client in the background: subprocess.Popen."""
        return subprocess.Popen([str(a) for a in args], env=self.env(**(env or {})), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)

    def http(self, method, path, body=None, headers=None):
        """One request on the socket -> (status, headers, bytes)."""
        c = http.client.HTTPConnection("localhost")
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(str(self.socket))
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, data

    def json(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        status, _, text = self.http(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
        check(status < 400, f"{method} {path}: {status} {text[:500]!r}")
        return json.loads(text) if text.strip() else None


class World:
    """Registry with base images, clients, a temporary folder; daemons on demand."""

    def __init__(self, build, peer=False):
        self.build, self.peer = pathlib.Path(build).resolve(), peer
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="mb."))
        os.chmod(self.tmp, 0o755)
        self.clients = prepare()
        self.registry = Registry(self.tmp / "registry")
        self.serial = 0
        self.daemons = []
        self._shared = self._builder = None
        self.push_bases()

    def binary(self, name):
        return self.build / name

    def push_bases(self):
        layer = busybox_layer()
        plain = Image([layer], {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]})
        foreign = Image([tar_of([("foreign", "f", 0o644, 0, 0, b"arm64\n")])], {"Cmd": ["sh"]}, arch="arm64", variant="v8")
        self.registry.push("library/busybox", "latest", [plain, foreign])
        self.registry.push("library/onbuild", "latest",
                           Image([layer], {"Cmd": ["sh"], "Env": ["PATH=/bin"], "OnBuild": ["RUN echo triggered > /onbuild", "ENV FROM_ONBUILD=1"]}))
        self.registry.push("library/rich", "latest", Image(
            [layer, tar_of([("app", "d", 0o750, 1000, 1000, None), ("app/data", "f", 0o640, 1000, 1000, b"data\n")])],
            {"User": "1000:1000", "WorkingDir": "/app", "Env": ["PATH=/bin", "RICH=yes"], "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo hi"],
             "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"base": "rich"}, "StopSignal": "SIGINT"}))

    def folder(self, name):
        self.serial += 1
        p = self.tmp / f"{self.serial}{name}"
        p.mkdir()
        return p

    def daemon(self, *args, **kw):
        d = Daemon(self, self.folder("d"), args, **kw)
        self.daemons.append(d)
        return d

    def shared(self):
        """One daemon for tests that do not mind company."""
        if self._shared is None or self._shared.process.poll() is not None:
            self._shared = self.daemon()
        return self._shared

    def face(self, name):
        """The shared daemon as dockerd or as buildkitd."""
        if name == "dockerd":
            return self.shared()
        if self._builder is None or self._builder.process.poll() is not None:
            self._builder = self.daemon(name="buildkitd")
        return self._builder

    def context(self, dockerfile=None, **files):
        """A build context; names with dots and slashes as a dict: context("FROM..", **{"a/b.txt": "x"}). Values: text, bytes, or (text, mode)."""
        p = self.folder("c")
        if dockerfile is not None:
            files = {"Dockerfile": dockerfile, **files}
        for name, value in files.items():
            mode = None
            if isinstance(value, tuple):
                value, mode = value
            f = p / name
            f.parent.mkdir(parents=True, exist_ok=True)
            f.write_bytes(value.encode() if isinstance(value, str) else value)
            if mode is not None:
                f.chmod(mode)
        return p

    def end_test(self):
        """Stops the daemons that are not shared: each has a subnet, of which there are 31.  -> what went wrong, or None."""
        errors = []
        for d in [d for d in self.daemons if d not in (self._shared, self._builder)]:
            self.daemons.remove(d)
            try:
                d.stop()
            except Failure as e:
                errors.append(str(e))
        return "\n".join(errors) or None

    def close(self):
        errors = []
        for d in self.daemons:
            try:
                d.stop()
            except Failure as e:
                errors.append(str(e))
        self.registry.stop()
        with open("/proc/self/mounts") as f:
            left = [line.split()[1] for line in f if str(self.tmp) in line]
        for m in left:
            errors.append(f"left mounted: {m}")
            subprocess.run(["umount", "-l", m], check=False)
        shutil.rmtree(self.tmp, ignore_errors=True)
        return errors


def files_of_tar(data):
    """name -> (type, mode, uid, gid, linkname, sha256 of content) of a tar (an exported rootfs)."""
    r = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        for i in t:
            kind = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
                    tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}.get(i.type, "other")
            content = hashlib.sha256(t.extractfile(i).read()).hexdigest() if i.isreg() else ""
            r["/" + i.name.strip("/").removeprefix("./")] = (kind, oct(i.mode), i.uid, i.gid, i.linkname, content)
    return r


@contextlib.contextmanager
def canary(world):
    """Files outside every root that no test may change."""
    p = world.folder("canary")
    (p / "f").write_bytes(os.urandom(64))
    (p / "f").chmod(0o600)
    (p / "empty").write_bytes(b"")
    (p / "d").mkdir()

    def state():
        return [(str(x), x.lstat().st_mode, x.lstat().st_uid, x.lstat().st_mtime_ns, x.read_bytes() if x.is_file() else b"",
                 tuple(os.listxattr(x, follow_symlinks=False))) for x in sorted(p.rglob("*"))] + [p.lstat().st_mode]

    before = state()
    yield p
    equal(state(), before, "the canary tree")
