# SPDX-License-Identifier: Apache-2.0
"""Hostile archives, links and images through every way in: contained, a canary tree untouched, the daemon alive."""
import gzip
import json
import os
import urllib.parse

import archives
import harness
from harness import Image, canary, check, contains, equal, own, sha, weight


def contained(w, d, run):
    """Give run() the corpus; afterwards nothing lies outside a layer, and the daemon builds."""
    with canary(w) as c:
        run(archives.corpus(c))
        d.alive()
        for folder, _, files in os.walk(d.root):
            for f in files:
                if f.startswith("escaped"):
                    check("/fs/" in folder + "/" or folder.endswith("/fs"), f"outside of a layer: {folder}/{f}")
    d.docker("build", "-q", w.context("FROM scratch\nCOPY f /f\n", f=os.urandom(8).hex())).ok()


@own
@weight(9)
def test_add(w):
    d = w.daemon()

    def run(corpus):
        c = w.folder("c")
        stages = []
        for name, data in corpus:
            (c / f"{name}.tar").write_bytes(data)
            stages.append(f"FROM scratch AS s-{name}\nADD {name}.tar /in/\n")
        (c / "Dockerfile").write_text("".join(stages))
        worked = 0
        for name, _ in corpus:
            r = d.docker("build", "-q", "--target", f"s-{name}", c, timeout=60)
            worked += r.code == 0
            d.alive()
        check(worked > 20, f"only {worked} archives were unpacked")

    contained(w, d, run)


@own
@weight(5)
def test_import(w):
    d = w.daemon()

    def run(corpus):
        worked = 0
        for name, data in corpus:
            status, _, body = d.http("POST", f"/images/create?fromSrc=-&repo=import-{name}", data, {"Content-Type": "application/x-tar"})
            worked += status == 200 and b"errorDetail" not in body
            d.alive()
        check(worked > 20, f"only {worked} archives were imported")

    contained(w, d, run)


def docker_archive(layer, name):
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha(layer)]}, "config": {}}).encode()
    return archives.archive({"manifest.json": json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["l/layer.tar"]}]).encode(),
                             "config.json": config, "l/layer.tar": layer})


@own
@weight(5)
def test_load(w):
    d = w.daemon()

    def run(corpus):
        worked = 0
        for name, data in corpus:
            status, _, body = d.http("POST", "/images/load?quiet=1", docker_archive(data, f"load-{name}:x"), {"Content-Type": "application/x-tar"})
            worked += status == 200 and b"errorDetail" not in body
            d.alive()
        check(worked > 20, f"only {worked} archives were loaded")

    contained(w, d, run)


@own
def test_load_outer_archive(w):
    """The archive itself lies: links for files, names and digests that lead outside."""
    d = w.daemon()
    m = archives.member
    end = b"\0" * 1024

    def run(corpus):
        secret = w.tmp / "secret"
        secret.write_bytes(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": {}}).encode())
        for name, data in corpus:
            d.http("POST", "/images/load?quiet=1", data)
            d.alive()
        for config, layer in ((str(secret), "l.tar"), ("../" * 16 + str(secret)[1:], "l.tar"), ("c.json", "/etc/passwd"), ("link", "l.tar"),
                              ("hard", "l.tar"), ("", ""), ("c.json", ".."), ("c.json", "missing")):
            tar = m("manifest.json", data=json.dumps([{"Config": config, "RepoTags": ["stolen:x"], "Layers": [layer]}]).encode())
            tar += m("link", archives.SYM, str(secret)) + m("hard", archives.HARD, str(secret)) + end
            status, _, body = d.http("POST", "/images/load?quiet=1", tar)
            check(status >= 400 or b"errorDetail" in body, f"loaded {config} {layer}: {body!r}")
            check(d.http("GET", "/images/stolen:x/json")[0] == 404, "an image of a file from outside")
        layout = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()
        for digest in ("sha256:" + "../" * 20 + "etc/passwd", "sha256:" + "0" * 64, "md5:../../x", "sha256:", "x", "sha256:" + "0" * 63 + "/"):
            index = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest,
                                                                     "size": 10, "annotations": {"io.containerd.image.name": "docker.io/library/stolen:x"}}]}).encode()
            status, _, body = d.http("POST", "/images/load?quiet=1", archives.archive({"oci-layout": layout, "index.json": index}))
            check(status >= 400 or b"errorDetail" in body, f"loaded {digest}: {body!r}")

    contained(w, d, run)


@own
@weight(5)
def test_pull(w):
    d = w.daemon()

    def run(corpus):
        worked = 0
        for name, data in corpus:
            w.registry.push(f"hostile/{name}", "latest", Image([data]))
            status, _, body = d.http("POST", f"/images/create?fromImage={w.registry.host}/hostile/{name}&tag=latest")
            worked += status == 200 and b"errorDetail" not in body
            d.alive()
        check(worked > 20, f"only {worked} images were pulled")

    contained(w, d, run)


@own
@weight(3)
def test_tar_context(w):
    """POST /build?version=2 with a remote context that is an archive (docker build - < context.tar)."""
    d = w.daemon()

    def run(corpus):
        for name, data in corpus:
            tar = archives.member("Dockerfile", data=b"FROM scratch\nCOPY . /\n", mode=0o644) + data
            r = d.docker("build", "-q", "-", timeout=60, stdin=tar)
            check("panic" not in r.err, r.err)
            d.alive()

    contained(w, d, run)


def test_context_links(w):
    """Links of the context are never followed on the host's side."""
    d = w.shared()
    with canary(w) as c:
        ctx = w.context("FROM busybox\nCOPY l /l\nCOPY up /up\nRUN readlink /l /up > /seen; cat /l/f /up/f > /stolen 2>/dev/null; wc -c < /stolen >> /seen\n")
        (ctx / "l").symlink_to(c)
        (ctx / "up").symlink_to("../" * 16 + str(c)[1:])
        for text in ("COPY l/f /f\n", "COPY up/f /f\n", "ADD l/f /f\n", "COPY l/ /dir/\n"):
            (ctx / "Dockerfile").write_text("FROM busybox\n" + text)
            r = d.docker("build", ctx)
            check(r.code != 0, f"{text}: {r.err[-800:]}")
        (ctx / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=bind,target=/c test ! -e /c/l/f && ! echo evil > /c/l/escaped\n")
        r = d.docker("build", ctx)
        (ctx / ".dockerignore").symlink_to(c / "f")
        d.docker("build", ctx)
        d.alive()


def test_stage_links(w):
    """What an image says about its links holds inside the image alone."""
    d = w.shared()
    with canary(w) as c:
        d.docker("build", "-t", "evil-links", w.context(f"""FROM busybox
RUN mkdir -p /x && ln -s {c} /x/l && ln -s {'../' * 16}{str(c)[1:]} /x/up && ln -s {c}/f /x/f && ln -s / /x/root
COPY a /x/l/escaped
COPY a /x/up/escaped
COPY a /x/f
COPY a /x/root{c}/escaped2
WORKDIR /x/l/escaped-dir
ADD t.tar /x/up/
RUN --mount=type=tmpfs,target=/x/l/escaped-tmp --mount=type=cache,target=/x/up/escaped-cache echo evil > /x/l/escaped3
RUN --mount=type=bind,target=/x/l/escaped-bind true
""", a="a", **{"t.tar": archives.archive({"escaped4": b"x"})})).ok()
        out = d.docker("run", "--rm", "evil-links", "ls", str(c)).ok().out
        for name in ("escaped", "escaped2", "escaped3", "escaped4", "f"):
            contains(out, name)
        r = d.docker("run", "--rm", "-v", f"{w.folder('v')}:/x/l/escaped-volume", "--tmpfs", "/x/up/escaped-tmpfs", "-w", "/x/l/made", "evil-links", "true")
        d.alive()
        # export follows nothing either
        o = w.folder("o")
        d.docker("build", "-o", f"type=local,dest={o}", w.context("FROM evil-links\n")).ok()


@own
def test_hostile_rootfs(w):
    """An image whose /etc, /proc, /dev ... are links out of it."""
    d = w.shared()
    busybox = harness.busybox_layer()
    with canary(w) as c:
        for n, where in enumerate(("etc", "dev", "proc", "sys", "run", "etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/passwd", "dev/shm")):
            for m, to in enumerate((str(c), str(c) + "/f", "../" * 16 + str(c)[1:])):
                top = where.split("/")[0]
                layer = archives.member(".wh." + top, data=b"") + (archives.member(top, archives.DIR) if "/" in where else b"") + archives.member(where, archives.SYM, to)
                name = f"rootfs/{n}-{m}"
                w.registry.push(name, "latest", Image([busybox, layer + b"\0" * 1024]))
                d.docker("run", "--rm", f"{w.registry.host}/{name}", "true", timeout=60)
                d.docker("build", "-q", w.context(f"FROM {w.registry.host}/{name}\nRUN true\nUSER daemon\nRUN true\n"), timeout=60)
                d.alive()


def lies(w, answers):
    """A registry of our own on loopback: path -> (status, headers, body)."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            status, headers, body = answers(self.path) or (404, {}, b"{}")
            self.send_response(status)
            for k, v in headers.items():
                self.send_header(k, v)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                try:
                    self.wfile.write(body)
                except OSError:
                    pass
            self.close_connection = True

        do_HEAD = do_GET

    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s


@own
def test_lying_registry(w):
    d = w.shared()
    mt = "application/vnd.oci.image.manifest.v1+json"
    plain = {"Content-Type": mt}

    def fresh():
        """An image that the daemon has nothing of."""
        return Image([harness.tar_of([("f", "f", 0o644, 0, 0, os.urandom(1000))])])

    def serve(image, manifest=None, config=None, blob=None):
        manifest = manifest or (200, {**plain, "Docker-Content-Digest": sha(image.manifest)}, image.manifest)
        config = config or (200, {}, image.config)
        blob = blob or (200, {}, image.blobs[0])

        def answers(path):
            if path == "/v2/":
                return 200, {}, b"{}"
            if "/manifests/" in path:
                return manifest
            return config if sha(image.config) in path else blob
        return lies(w, answers)

    bomb = gzip.compress(b"\0" * 50_000_000)
    cases = {
        "other blob": lambda i: dict(blob=(200, {}, gzip.compress(b"other" * 300))),
        "cut blob": lambda i: dict(blob=(200, {}, i.blobs[0][:-5])),
        "longer blob": lambda i: dict(blob=(200, {}, i.blobs[0] + b"more")),
        "promised more": lambda i: dict(blob=(200, {"Content-Length": "100000"}, i.blobs[0])),
        "bomb": lambda i: dict(blob=(200, {}, bomb)),
        "other config": lambda i: dict(config=(200, {}, i.config.replace(b"linux", b"Linux"))),
        "wrong digest header": lambda i: dict(manifest=(200, {**plain, "Docker-Content-Digest": "sha256:" + "1" * 64}, i.manifest)),
        "not JSON": lambda i: dict(manifest=(200, plain, b"{{{{")),
        "deep JSON": lambda i: dict(manifest=(200, plain, b"[" * 100000)),
        "large manifest": lambda i: dict(manifest=(200, plain, b'{"a":"' + b"x" * 9_000_000 + b'"}')),
        "negative size": lambda i: dict(manifest=(200, plain, i.manifest.replace(b'"size": ', b'"size": -'))),
        "digest with a path": lambda i: dict(manifest=(200, plain, i.manifest.replace(sha(i.blobs[0]).encode(), b"sha256:../../../../etc/passwd"))),
        "redirect loop": lambda i: dict(blob=(302, {"Location": "/v2/x/blobs/" + sha(i.blobs[0])}, b"")),
        "redirect to a file": lambda i: dict(blob=(302, {"Location": "file:///etc/passwd"}, b"")),
        "server error": lambda i: dict(blob=(500, {}, b"oops")),
    }
    with canary(w):
        for name, lie in cases.items():
            image = fresh()
            s = serve(image, **lie(image))
            ref = f"127.0.0.1:{s.server_port}/x:t"
            r = d.docker("pull", ref, timeout=100)
            s.shutdown()
            d.alive()
            check(r.code != 0, f"{name}: pulled\n{r.out}")
            check(d.http("GET", f"/images/{ref}/json")[0] == 404, f"{name}: an image was made of it")
        s = serve(fresh())  # and what is true can be pulled, so that the failures above were the lies
        d.docker("pull", f"127.0.0.1:{s.server_port}/x:ok").ok()
        s.shutdown()


@own  # buildkitd sometimes hangs when a name holds a NUL
@weight(2)
def test_lying_file_sync(w):
    """A client of our own that says of its context what is not so: its build fails or is contained."""
    program = harness.go_program(w.clients, harness.HERE / "liar")
    d = w.daemon(name="buildkitd")
    lies = harness.run([program, "list"]).ok().out.split()
    believed = []
    may_work = {"truth", "negative-size", "xattr", "unasked-data", "device", "link-then-dir"}
    with canary(w) as c:
        harness.run([program, "-socket", d.socket, "truth"]).ok()
        for lie in lies:
            r = harness.run([program, "-socket", d.socket, "-target", c, lie], timeout=60)
            if r.code == 0 and lie not in may_work:
                believed.append(lie)
            d.alive()
        equal(believed, [], "lies that were believed")
        harness.run([program, "-socket", d.socket, "truth"]).ok()
    for folder, _, files in os.walk(d.root):
        for f in files:
            check(not f.startswith("escaped"), f"{folder}/{f}")


def test_json_nested_deeper_than_any_answer_needs(w):
    d = w.shared()
    deep = b'{"Image": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    for path, body in (("/v1.50/containers/create", deep), ("/v1.50/build?buildargs=" + urllib.parse.quote(deep.decode()), b""),
                       ("/v1.50/build?version=2&buildargs=" + urllib.parse.quote(deep.decode()), b"")):
        status, _, text = d.http("POST", path, body, {"Content-Type": "application/json"})
        check(status == 400 and b"exceeded max depth" in text, f"{path[:40]}: {status} {text}")  # the words of Go's decoder
