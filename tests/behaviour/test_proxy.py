# SPDX-License-Identifier: Apache-2.0
"""The proxy network: steps that reach the world through the daemon alone, what they asked for, and what is made of it."""
import hashlib
import json

from harness import check, contains, equal
from test_policy import rule, rules
from test_remote import serve

CA = "/etc/ssl/certs/ca-certificates.crt"
MARK = "buildkit proxy CA begin"
BASE = f"FROM busybox AS base\nCOPY --chmod=644 roots {CA}\n"


def build(w, d, dockerfile, *args, out=None, **kw):
    c = w.context(dockerfile, roots="# roots\n", **kw)
    target = ["--output", f"type=local,dest={out}"] if out else []
    return d.buildctl("build", "--progress=plain", "--proxy-network", "--allow", "network.host", "--frontend", "dockerfile.v0",
                      "--local", f"context={c}", "--local", f"dockerfile={c}", *target, *args)


def site(w, **files):
    folder = w.folder("site")
    for name, text in files.items():
        (folder / name).write_text(text)
    return serve(folder)


def test_requests(w):
    """What is asked for is passed on, said, and named in the provenance; there is no other way out."""
    d = w.face("buildkitd")
    server, url = site(w, hello="hello\n")
    get = f"env no_proxy= NO_PROXY= wget -q -O- {url}"
    try:
        out = w.folder("out")
        text = (BASE + f"RUN --network=host {get}/hello > /got && ! {get}/none > /none\n"
                "RUN env | grep -i _proxy | sort > /env; ! nc -w 1 1.1.1.1 80 && ip addr > /addresses\n"
                "FROM scratch\nCOPY --from=base /got /env /addresses /\n")
        attest = ["--opt", "attest:provenance=mode=max,version=v1"]
        r = build(w, d, text, *attest, out=out).ok()
        contains(r.err, f"- GET {url}/hello -> 200")
        contains(r.err, f"- GET {url}/none -> 404")
        equal((out / "got").read_text(), "hello\n", "what came")
        env = dict(line.split("=", 1) for line in (out / "env").read_text().splitlines())
        equal(sorted(env), sorted(n for u in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for n in (u, u.lower())), "variables")
        check("eth0" not in (out / "addresses").read_text(), "a step behind the proxy has an interface")
        for again in (False, True):  # what a cached step fetched is known still
            out = w.folder("again") if again else out
            if again:
                contains(build(w, d, text, *attest, out=out).ok().err, "CACHED")
            predicate = json.loads((out / "provenance.json").read_text())["predicate"]
            found = {m["uri"]: m.get("digest") for m in predicate["buildDefinition"]["resolvedDependencies"]}
            equal(found.get(f"{url}/hello"), {"sha256": hashlib.sha256(b"hello\n").hexdigest()}, "the material")
            network = predicate["runDetails"]["metadata"]["buildkit_metadata"]["network"]
            equal(network["mode"], "proxy", "network")
            equal([(g["method"], g["uri"], g["reason"]) for g in network["proxy"]["incomplete"]],
                  [("GET", f"{url}/none", "unsuccessful_response")], "gaps")
        r = build(w, d, text, "--opt", "attest:provenance=mode=max,version=v1,complete-materials=true", out=w.folder("out"))
        r.fails("provenance materials are incomplete", f"url: {url}/none", "reason: unsuccessful_response")
        # without the proxy it is another step
        c = w.context(text, roots="# roots\n")
        r = d.buildctl("build", "--progress=plain", "--allow", "network.host", "--frontend", "dockerfile.v0",
                       "--local", f"context={c}", "--local", f"dockerfile={c}")
        check("proxy network requests" not in r.err, "a build without the proxy has one")
    finally:
        server.shutdown()
        server.server_close()


def test_trust(w):
    """The proxy's certificate is trusted while a step runs, and no layer has it."""
    d = w.face("buildkitd")
    out = w.folder("out")
    r = build(w, d, BASE + f"RUN grep '{MARK}' {CA} && stat -c %Y {CA} > /before\n"
              f"RUN --network=none ! grep '{MARK}' {CA}\n"
              f"RUN cp {CA} /copy && echo more >> {CA}\nRUN touch /last\n", out=out)
    r.ok()
    equal((out / CA[1:]).read_text(), "# roots\nmore\n", "the bundle")
    tar = w.folder("tar") / "image.tar"
    build(w, d, BASE + "RUN echo changes nothing of it\n", "--output", f"type=oci,dest={tar},tar=true").ok()
    last = layers(tar)[-1]
    equal([n for n in last if n.startswith("etc")], [], "files of /etc in the step's layer")
    r = build(w, d, BASE + f"RUN dd if=/dev/zero bs=1048576 count=11 >> {CA}; exit 42\n")
    r.fails("exit code: 42", "failed to clean up proxy CA", "exceeds 10485760 bytes")
    build(w, d, f"FROM busybox\nRUN mkdir -p /etc/ssl/certs && mkfifo {CA}\nRUN ls {CA}\n").ok()


def layers(path):
    """Names of the entries of each layer of an OCI archive's only image."""
    import io
    import tarfile
    with tarfile.open(path) as t:
        blob = lambda d: t.extractfile("blobs/sha256/" + d.split(":")[1]).read()
        index = json.loads(t.extractfile("index.json").read())
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        return [tarfile.open(fileobj=io.BytesIO(blob(x["digest"]))).getnames() for x in manifest["layers"]]


def test_policies(w):
    d = w.face("buildkitd")
    server, url = site(w, a="a\n", b="b\n")
    try:
        get = f"FROM busybox\nRUN --network=host env no_proxy= NO_PROXY= wget -S -O /got {url}/a\n"
        r = build(w, d, get, "--source-policy-file", rules(w, rule("DENY", f"{url}/*")))
        r.fails("exit code: 1")
        contains(r.err, "HTTP/1.1 403 Forbidden")
        out = w.folder("out")
        build(w, d, get, "--source-policy-file", rules(w, rule("CONVERT", f"{url}/a", identifier=f"{url}/b")), "--no-cache", out=out).ok()
        equal((out / "got").read_text(), "b\n", "what was asked for instead")
    finally:
        server.shutdown()
        server.server_close()


def test_daemon_setting(w):
    """--proxy-network of buildkitd holds for every build; a broken upstream proxy is told, and the password in it is not."""
    d = w.daemon("--proxy-network", name="buildkitd")
    c = w.context("FROM busybox\nRUN env | grep HTTP_PROXY\nRUN --network=none ! env | grep HTTP_PROXY\n")
    d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}").ok()
    d.stop()
    d = w.daemon("--proxy-network", name="buildkitd", env={"HTTPS_PROXY": "ftp://user:secret@nowhere"})
    r = d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}")
    r.fails("invalid HTTPS_PROXY in buildkitd environment")
    check("secret" not in r.err, "the password of the proxy is told")


def test_https(w):
    """A server that cannot be reached is a 502 inside of the TLS that the step began."""
    d = w.face("buildkitd")
    for _ in range(3):
        build(w, d, BASE + "RUN ! wget -S -O- https://no-such-host.invalid/x 2>/log; grep 'HTTP/1.1 502 Bad Gateway' /log\n", "--no-cache").ok()
