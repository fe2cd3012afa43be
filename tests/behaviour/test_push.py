# SPDX-License-Identifier: Apache-2.0
"""Images leave the house: pushes to registries, layers in each compression, file times that end at the epoch."""
import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import re
import subprocess
import tarfile
import threading
import urllib.error

import test_cases
from harness import Image, Registry, check, contains, equal, own, sha, tar_of

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
GEHEIM = "$2b$04$JjSj21Qg0x.tDMQQDD34ZezhzWE.xO8GQVAoIkYCzeysUCdg4DDv6"  # bcrypt of "geheim"
TEXT = "FROM busybox\nCOPY a /a\nRUN echo made > /b\n"


def get(registry, repo, what, accept=f"{MANIFEST}, {INDEX}"):
    r = registry._call("GET", f"/v2/{repo}/manifests/{what}", headers={"Accept": accept})
    data = r.read()
    equal(r.headers["Docker-Content-Digest"], sha(data), "digest of the manifest")
    return json.loads(data), sha(data)


def blob(registry, repo, digest):
    data = registry._call("GET", f"/v2/{repo}/blobs/{digest}").read()
    equal(sha(data), digest, "digest of the blob")
    return data


def plain(data, media_type):
    if media_type.endswith("gzip"):
        return gzip.decompress(data)
    if media_type.endswith("zstd"):
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def whole(registry, repo, what):
    """Everything that a manifest names is there, and agrees with the config."""
    m, digest = get(registry, repo, what)
    config = json.loads(blob(registry, repo, m["config"]["digest"]))
    diff_ids = config["rootfs"]["diff_ids"]
    equal(len(diff_ids), len(m["layers"]), "layers")
    for d, want in zip(m["layers"], diff_ids):
        data = blob(registry, repo, d["digest"])
        equal(len(data), d["size"], "size")
        equal(sha(plain(data, d["mediaType"])), want, "diff ID")
    return m, digest


def metadata(path):
    return json.loads(pathlib.Path(path).read_text())


def test_buildx_push(w):
    d, tag = w.shared(), f"{w.registry.host}/team/app:v1"
    c = w.context(TEXT, a="a\n")
    out = d.docker("buildx", "build", "--provenance=false", "--push", "-t", tag, "--metadata-file", c / "meta", "--progress", "plain", c).ok().err
    m, digest = whole(w.registry, "team/app", "v1")
    equal({x["mediaType"] for x in m["layers"]}, {LAYER + "+gzip"}, "layer types")
    equal(metadata(c / "meta")["containerimage.digest"], digest, "digest told to the client")
    contains(out, "pushing layers")
    contains(out, f"pushing manifest for {tag}@{digest}")
    again = w.context(TEXT, a="a\n")
    d.docker("buildx", "build", "--provenance=false", "--push", "-t", tag, "--metadata-file", again / "meta", again).ok()
    equal(metadata(again / "meta")["containerimage.digest"], digest, "digest of a second push")


def test_push_by_digest(w):
    d, name = w.face("buildkitd"), f"{w.registry.host}/team/untagged"
    c = w.context(TEXT, a="digest\n")
    solve = ["build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--metadata-file", c / "meta"]
    d.buildctl(*solve, "--output", f"type=image,name={name},push-by-digest=true,push=true").ok()
    digest = metadata(c / "meta")["containerimage.digest"]
    equal(whole(w.registry, "team/untagged", digest)[1], digest, "digest")
    try:
        get(w.registry, "team/untagged", "latest")
    except urllib.error.HTTPError as e:
        equal(e.code, 404, "status of the tag")
    else:
        check(False, "a tag was made")
    d.buildctl(*solve, "--output", f"type=image,name={name}:tag,push-by-digest=true,push=true").fails(
        f"can't push tagged ref {name}:tag by digest")


def test_push_to_several_names(w):
    d = w.shared()
    names = [f"{w.registry.host}/several/{n}" for n in ("one:x", "two:y")]
    c = w.context(TEXT, a="several\n")
    d.docker("buildx", "build", "--provenance=false", "-o", f'type=image,"name={",".join(names)}",push=true', c).ok()
    equal(whole(w.registry, "several/one", "x")[1], whole(w.registry, "several/two", "y")[1], "digests")


def test_push_compressions(w):
    d = w.shared()
    c = w.context(TEXT, a="compressions\n")
    for name, ending in (("uncompressed", ""), ("gzip", "+gzip"), ("zstd", "+zstd")):
        d.docker("buildx", "build", "--provenance=false", "-o", f"type=image,name={w.registry.host}/comp/{name},push=true,compression={name}", c).ok()
        m, _ = whole(w.registry, f"comp/{name}", "latest")
        equal([x["mediaType"] for x in m["layers"][1:]], [LAYER + ending] * 2, f"own layers with {name}")
        equal(m["layers"][0]["mediaType"], LAYER + "+gzip", "the base image's layer")
        d.docker("buildx", "build", "--provenance=false", "-o",
                 f"type=image,name={w.registry.host}/comp/{name}:all,push=true,compression={name},force-compression=true", c).ok()
        m, _ = whole(w.registry, f"comp/{name}", "all")
        equal({x["mediaType"] for x in m["layers"]}, {LAYER + ending}, f"all layers with {name}")
    d.docker("buildx", "build", "--provenance=false", "-o", f"type=image,name={w.registry.host}/comp/bad,push=true,compression=lzma", c).fails(
        "unsupported compression type lzma")


def test_multi_platform_push(w):
    d, tag = w.shared(), f"{w.registry.host}/multi/app:v1"
    c = w.context("FROM busybox\nCOPY a /a\n", a="a\n")
    d.docker("buildx", "build", "--provenance=false", "--platform", "linux/amd64,linux/arm64", "--push", "-t", tag, c).ok()
    index, _ = get(w.registry, "multi/app", "v1")
    equal(index["mediaType"], INDEX, "media type")
    equal(sorted(m["platform"]["architecture"] for m in index["manifests"]), ["amd64", "arm64"], "platforms")
    for m in index["manifests"]:
        whole(w.registry, "multi/app", m["digest"])


def test_the_store_is_not_compressed(w):
    d, c = w.shared(), w.context(TEXT, a="stay\n")
    d.docker("buildx", "build", "--provenance=false", "-t", "stay", "-o", "type=image", c)
    d.docker("buildx", "build", "--provenance=false", "-t", "stay", c).ok()
    before = d.docker("image", "inspect", "-f", "{{.Id}}", "stay").ok().out
    d.docker("buildx", "build", "--provenance=false", "--push", "-t", f"{w.registry.host}/stay/away", c).ok()
    d.docker("buildx", "build", "--provenance=false", "-t", "stay", c).ok()
    equal(d.docker("image", "inspect", "-f", "{{.Id}}", "stay").ok().out, before, "id after a push of the same")


def test_docker_push(w):
    d, tag = w.shared(), f"{w.registry.host}/plain/app:v1"
    c = w.context(TEXT, a="docker push\n")
    d.docker("build", "--provenance=false", "-t", tag, c).ok()
    out = d.docker("push", tag).ok().out
    contains(out, f"The push refers to repository [{w.registry.host}/plain/app]")
    m, digest = whole(w.registry, "plain/app", "v1")
    contains(out, f"v1: digest: {digest} size: ")
    equal({x["mediaType"] for x in m["layers"]}, {LAYER + "+gzip"}, "layer types")
    for x in m["layers"]:
        contains(out, x["digest"][7:19] + ": ")
    contains(d.docker("push", tag).ok().out, "Layer already exists")
    equal(d.docker("image", "inspect", "-f", "{{index .RepoDigests 0}}", tag).ok().out.strip(),
          f"{w.registry.host}/plain/app@{digest}", "RepoDigests")
    d.docker("image", "inspect", f"{w.registry.host}/plain/app@{digest}").ok()


@own
def test_a_pulled_layer_is_mounted(w):
    d, tag = w.daemon(), f"{w.registry.host}/mount/app:v1"
    base = f"{w.registry.host}/library/rich"
    c = w.context(f"FROM {base}\nUSER 0\nCOPY a /a\n", a="mount\n")
    d.docker("build", "--provenance=false", "-t", tag, c).ok()
    out = d.docker("push", tag).ok().out
    contains(out, ": Mounted from library/rich")
    whole(w.registry, "mount/app", "v1")


def test_docker_push_all_tags(w):
    d, repo = w.shared(), f"{w.registry.host}/plain/tags"
    c = w.context("FROM busybox\n")
    d.docker("build", "--provenance=false", "-t", f"{repo}:a", "-t", f"{repo}:b", c).ok()
    d.docker("push", "-a", repo).ok()
    equal(get(w.registry, "plain/tags", "a")[1], get(w.registry, "plain/tags", "b")[1], "digests")


def test_docker_push_refusals(w):
    d = w.shared()
    d.docker("push", f"{w.registry.host}/no/such:tag").fails("tag does not exist: " + f"{w.registry.host}/no/such:tag")
    d.docker("push", "-a", f"{w.registry.host}/no/such").fails("An image does not exist locally with the tag: ")
    status, _, body = d.http("POST", "/images/" + "busybox/push?tag=..bad", b"{}")
    check(status >= 400 or b"errorDetail" in body, f"{status} {body}")


def test_push_with_password(w):
    folder = w.folder("auth")
    (folder / "htpasswd").write_text(f"ann:{GEHEIM}\n")
    r = Registry(folder / "r", htpasswd=folder / "htpasswd")
    try:
        d, c = w.daemon(), w.context(TEXT, a="secret\n")
        tag = f"{r.host}/private/app:v1"
        d.docker("build", "--provenance=false", "-t", tag, c).ok()
        d.docker("push", tag).fails("401 Unauthorized")
        d.docker("buildx", "build", "--provenance=false", "--push", "-t", tag, c).fails(f"failed to push {tag}", "401 Unauthorized")
        d.docker("login", "-u", "ann", "-p", "geheim", r.host).ok()
        d.docker("push", tag).ok()
        d.docker("buildx", "build", "--provenance=false", "--push", "-t", f"{r.host}/private/app:v2", c).ok()
        basic = {"Authorization": "Basic " + base64.b64encode(b"ann:geheim").decode()}
        for t in ("v1", "v2"):
            r._call("GET", f"/v2/private/app/manifests/{t}", headers={"Accept": MANIFEST, **basic})
        check("geheim" not in d.text_log(), "the password is in the log")
    finally:
        r.stop()


@contextlib.contextmanager
def curious_server(challenge):
    """Wants a password for everything. -> its address, and the Authorization headers that it gets."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if "Authorization" in self.headers:
                seen.append(self.headers["Authorization"])
            self.send_response(401)
            self.send_header("WWW-Authenticate", challenge)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def registry_auth(**fields):
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()}


def test_a_password_is_for_one_server(w):
    basic = base64.b64encode(b"ann:geheim").decode()
    with curious_server('Basic realm="r"') as (host, seen):
        d = w.daemon(config={"registry-mirrors": [f"http://{host}"]})
        auth = registry_auth(username="ann", password="geheim", serveraddress="https://index.docker.io/v1/")
        d.http("POST", "/images/create?fromImage=private/app&tag=v1", b"", auth)
        equal(seen, [], "what the mirror was told")
        d.http("POST", f"/images/create?fromImage={host}/app&tag=v1", b"", auth)
        equal(seen, [], "what another registry was told")
        auth = registry_auth(username="ann", password="geheim")
        d.http("POST", f"/images/create?fromImage={host}/app&tag=v1", b"", auth)
        check(f"Basic {basic}" in seen, f"the registry itself was told {seen}")
        del seen[:]
        auth = registry_auth(username="ann", password="geheim", serveraddress=f"http://{host}/v1/")
        d.http("POST", f"/images/create?fromImage={host}/app&tag=v1", b"", auth)
        check(f"Basic {basic}" in seen, f"the registry itself was told {seen}")
    with curious_server('Bearer realm="http://127.0.0.1:1/token",service="s"') as (host, seen):
        d.http("POST", f"/images/create?fromImage={host}/app&tag=v1", b"", registry_auth(registrytoken="abc"))
        check("Bearer abc" in seen, f"the registry was told {seen}")


def layout(path):
    with tarfile.open(path) as t:
        return {m.name: t.extractfile(m).read() for m in t if m.isfile()}


def layout_manifest(files):
    d = json.loads(files["index.json"])["manifests"][0]["digest"]
    return json.loads(files["blobs/sha256/" + d[7:]])


def test_layouts_in_each_compression(w):
    d = w.shared()
    c = w.context(TEXT, a="layouts\n")
    for kind in ("oci", "docker"):
        for name, ending in ((None, "+gzip"), ("uncompressed", ""), ("gzip", "+gzip"), ("zstd", "+zstd")):
            out = c / f"../{c.name}-{kind}-{name}.tar"
            extra = f",compression={name},force-compression=true" if name else ""
            d.docker("buildx", "build", "--provenance=false", "-o", f"type={kind},dest={out}{extra}", c).ok()
            files = layout(out)
            m = layout_manifest(files)
            config = json.loads(files["blobs/sha256/" + m["config"]["digest"][7:]])
            for x, want in zip(m["layers"], config["rootfs"]["diff_ids"]):
                check(x["mediaType"].endswith(ending or "tar"), f"{kind} {name}: {x['mediaType']}")
                data = files["blobs/sha256/" + x["digest"][7:]]
                equal(sha(data), x["digest"], "digest")
                equal(sha(plain(data, x["mediaType"])), want, "diff ID")


def test_foreign_layers(w):
    """A layer that registries should not have is pulled where one has it; it goes out as any other, or as what it was."""
    base = Image([tar_of([("f", "f", 0o644, 0, 0, b"foreign\n")])])
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    base.manifest = base.manifest.replace(b"application/vnd.oci.image.layer.v1.tar+gzip", foreign.encode())
    w.registry.push("library/foreign", "latest", base)
    d = w.face("buildkitd")
    c = w.context("FROM foreign\nCOPY a /a\n", a="a\n")
    for option, want in ("", f"{LAYER}+gzip"), (",prefer-nondist-layers=true", foreign):
        out = w.folder("out") / "image.tar"
        d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--output",
                   f"type=oci,dest={out}{option}").ok()
        files = layout(out)
        layers = layout_manifest(files)["layers"]
        equal([x["mediaType"] for x in layers], [want, f"{LAYER}+gzip"], f"types with {option!r}")
        equal(sha(files["blobs/sha256/" + layers[0]["digest"][7:]]), sha(base.blobs[0]), "the layer's bytes")


def test_compression_level(w):
    d = w.shared()
    c = w.context("FROM scratch\nCOPY a /a\n", a="".join(f"{i % 97} bottles of {hashlib.sha256(str(i % 1013).encode()).hexdigest()[:9]}\n" for i in range(20000)))
    sizes = {}
    for level in (1, 9):
        out = c / f"../{c.name}-{level}.tar"
        d.docker("buildx", "build", "--provenance=false", "-o", f"type=oci,dest={out},compression=gzip,compression-level={level}", c).ok()
        sizes[level] = layout_manifest(layout(out))["layers"][0]["size"]
    check(sizes[9] < sizes[1], f"level 9 gives {sizes[9]} bytes, level 1 {sizes[1]}")
    d.docker("buildx", "build", "--provenance=false", "-o", "type=oci,dest=/dev/null,compression-level=high", c).fails(
        "non-integer value high specified for compression-level")


def test_rewrite_timestamp(w):
    d, epoch = w.shared(), 1600000000
    c = w.context(TEXT, a="times\n")
    seen = set()
    for n in range(2):
        out = c / f"../{c.name}-{n}.tar"
        d.docker("buildx", "build", "--provenance=false", "--no-cache", "--build-arg", f"SOURCE_DATE_EPOCH={epoch}", "-o",
                 f"type=oci,dest={out},rewrite-timestamp=true", c).ok()
        files = layout(out)
        m = layout_manifest(files)
        seen.add(json.dumps(m))
        check("annotations" not in m["layers"][0], "the base image's layer was rewritten")
        for x in m["layers"][1:]:
            equal(x["annotations"]["buildkit/rewritten-timestamp"], str(epoch), "annotation")
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(files["blobs/sha256/" + x["digest"][7:]]))) as t:
                for e in t:
                    check(e.mtime <= epoch, f"{e.name} has time {e.mtime}")
    equal(len(seen), 1, "different manifests of the same build")


@own
def test_rewritten_image_runs(w):
    d, epoch = w.shared(), 1600000000
    c = w.context(TEXT, a="runs\n")
    d.docker("buildx", "build", "--provenance=false", "--build-arg", f"SOURCE_DATE_EPOCH={epoch}", "-o",
             "type=image,name=clamped,rewrite-timestamp=true", c).ok()
    equal(d.docker("run", "--rm", "clamped", "sh", "-c", "cat /a /b; stat -c %Y /b").ok().out, f"runs\nmade\n{epoch}\n", "output")


def test_pull_of_what_was_pushed(w):
    d, tag = w.shared(), f"{w.registry.host}/round/trip:v1"
    c = w.context(TEXT, a="trip\n")
    d.docker("buildx", "build", "--provenance=false", "--push", "-t", tag, c).ok()
    other = w.daemon()
    other.docker("pull", tag).ok()
    equal(other.docker("run", "--rm", tag, "cat", "/a", "/b").ok().out, "trip\nmade\n", "output")


def test_push_with_buildctl(w):
    d = w.face("buildkitd")
    c = w.context(TEXT, a="buildctl\n")
    out = d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--progress", "plain",
                     "--output", f"type=image,name={w.registry.host}/ctl/app:v1,push=true").ok().err
    _, digest = whole(w.registry, "ctl/app", "v1")
    check(re.search(r"pushing manifest for .*/ctl/app:v1@" + digest, out), out)


def test_what_exporters_refuse(w):
    """Errors of exporters and cache exporters are said as BuildKit says them, without a code in front."""
    d, c = w.face("buildkitd"), w.context("FROM scratch\nCOPY a /d/a\n", a="a")
    builder = test_cases.remote(w, d)
    image = f"type=image,name={w.registry.host}/refused/a:b,push=true"
    for flag, value, text in (
            ("-o", f"{image},push-by-digest=true", "can't push tagged ref"),
            ("-o", f"{image},compression=foo", "unsupported compression type foo"),
            ("-o", f"{image},annotation-foo.a=1", "unrecognized annotation type foo"),
            ("-o", f"{image},annotation-index.a=1", "index annotations not supported for single platform export"),
            ("-o", "type=image,name=127.0.0.1:1/x:y,push=true", "failed to push 127.0.0.1:1/x:y: failed to do request"),
            ("-o", "type=local,dest=OUT,src=/d/a", "src=/d/a: not a directory"),
            ("-o", "type=tar,dest=OUT,src=/d/a", "src=/d/a: not a directory"),
            ("--cache-to", "type=registry,ref=UP PER,mode=max", "failed to configure registry cache exporter: invalid reference format"),
            ("--cache-to", "type=registry,ref=127.0.0.1:1/x:y", "error writing layer blob: failed to do request")):
        r = d.docker("buildx", "build", *builder, "--provenance=false", flag, value.replace("OUT", str(w.folder("out") / "x")), c)
        r.fails(text)
        line = next(x for x in r.err.splitlines() if x.startswith("ERROR: "))
        check(re.match(r"ERROR: failed to build: failed to solve: [a-z]", line), f"a code in front: {line}")
    # what is no annotation is passed over as any attribute that nobody knows
    d.docker("buildx", "build", *builder, "-o", f"{image},annotation=x,annotation[.y=1,annotation-.z=2", c).ok()


def test_metadata_of_a_push(w):
    """The image's descriptor as the client gets it holds what was asked for, and no notes of the builder."""
    d, c, md = w.shared(), w.context("FROM scratch\nCOPY a /a\n", a="a"), w.folder("md") / "m"
    d.docker("buildx", "build", "--provenance=false", "--metadata-file", md, "-o", f"type=image,name={w.registry.host}/noted/a:b,push=true", c).ok()
    m = metadata(md)
    check("annotations" not in m["containerimage.descriptor"], f"notes of the builder: {m}")


@own
def test_delete_mode_of_several_platforms(w):
    """mode=delete leaves what the results have, be they in a folder each or all in one."""
    d = w.face("buildkitd")
    c = w.context("FROM scratch AS all-amd64\nCOPY a /d/a\nCOPY a /one\nFROM scratch AS all-arm64\nCOPY a /d/b\nCOPY a /d.x\nFROM all-$TARGETARCH\n", a="a")
    for split, want in (("true", ["linux_amd64/d/a", "linux_amd64/one", "linux_arm64/d.x", "linux_arm64/d/b"]), ("false", ["d.x", "d/a", "d/b", "one"])):
        out = w.folder("out")
        (out / "d").mkdir()
        (out / "d/stale").write_text("old")
        (out / "d/a").write_text("old")
        d.docker("buildx", "build", *test_cases.remote(w, d), "--allow=buildx.local.delete", "--platform=linux/amd64,linux/arm64", "--provenance=false",
                 "-o", f"type=local,dest={out},mode=delete,platform-split={split}", c).ok()
        equal(sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()), want, f"platform-split={split}")
        check(all(p.read_text() == "a" for p in out.rglob("*") if p.is_file()), "content")
