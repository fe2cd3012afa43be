# SPDX-License-Identifier: Apache-2.0
"""Build caches that leave one daemon and come to another."""
import json
import re
import urllib.parse

from harness import check, contains, equal, own, wait_for

DOCKERFILE = """\
FROM busybox AS base
COPY one /one
RUN cat /proc/sys/kernel/random/uuid > /unique
FROM busybox AS side
COPY two /two
RUN cat /two /proc/sys/kernel/random/uuid > /side
FROM scratch
COPY --from=base /unique /one /
COPY --from=side /side /
"""


def build(d, context, *args, **kw):
    return d.docker("buildx", "build", "--progress=plain", *args, context, **kw).ok()


def steps(text):
    """Step name without its number -> True when it was CACHED, False when it ran."""
    names, cached = {}, set()
    for line in text.splitlines():
        m = re.match(r"#(\d+) (\[(?!internal)[^\]]*\] .*)", line)
        if m:
            names[m[1]] = m[2]
        m = re.match(r"#(\d+) CACHED", line)
        if m:
            cached.add(m[1])
    return {n: k in cached for k, n in names.items()}


def ran(result):
    """The steps that did not come from a cache; base images aside."""
    return sorted(n for n, c in steps(result.err).items() if not c and "FROM " not in n)


def read(folder, name="unique"):
    return (folder / name).read_text()


def round_trip(w, to, source, mode="max", more=()):
    """Build in one daemon, then in an empty one: everything CACHED and the same bytes."""
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    first, second = w.daemon(), w.daemon()
    a, b = w.folder("out"), w.folder("out")
    r = build(first, context, "-o", a, "--cache-to", f"{to},mode={mode}")
    r2 = build(second, context, "-o", b, "--cache-from", source, *more)
    equal(ran(r2), [], "steps that ran")
    equal(read(b), read(a), "the random content")
    equal(read(b, "side"), read(a, "side"), "the random content")
    return context, first, second, r, r2, a


def manifest(w, repo, tag):
    r = w.registry._call("GET", f"/v2/{repo}/manifests/{tag}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"})
    return json.loads(r.read())


def test_registry_max(w):
    ref = f"{w.registry.host}/cache/max:c"
    context, first, second, r, r2, a = round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}")
    for text in ("exporting cache to registry", "preparing build cache for export", "writing layer sha256:", "writing config sha256:",
                 "writing cache image manifest sha256:"):
        contains(r.err, text)
    contains(r2.err, f"importing cache manifest from {ref}")
    m = manifest(w, "cache/max", "c")
    equal(m["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0", "config type")
    check(all("containerd.io/uncompressed" in x["annotations"] for x in m["layers"]), "every layer has its diff ID")


def test_registry_index(w):
    ref = f"{w.registry.host}/cache/index:c"
    round_trip(w, f"type=registry,ref={ref},image-manifest=false", f"type=registry,ref={ref}")
    m = manifest(w, "cache/index", "c")
    equal(m["mediaType"], "application/vnd.oci.image.index.v1+json", "manifest type")
    equal(m["manifests"][-1]["mediaType"], "application/vnd.buildkit.cacheconfig.v0", "the last entry")


def test_registry_docker_types(w):
    ref = f"{w.registry.host}/cache/docker:c"
    round_trip(w, f"type=registry,ref={ref},oci-mediatypes=false", f"type=registry,ref={ref}")
    m = manifest(w, "cache/docker", "c")
    equal(m["mediaType"], "application/vnd.docker.distribution.manifest.list.v2+json", "manifest type")


def test_registry_min(w):
    """What only leads to the result has no layers in the cache, and is not run when the result is there."""
    ref = f"{w.registry.host}/cache/min:c"
    round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}", mode="min")
    m = manifest(w, "cache/min", "c")
    equal(len(m["layers"]), 2, "layers of the cache")


def test_compressions(w):
    for kind, media in (("zstd", "tar+zstd"), ("uncompressed", "layer.v1.tar"), ("gzip", "tar+gzip")):
        ref = f"{w.registry.host}/cache/{kind}:c"
        round_trip(w, f"type=registry,ref={ref},compression={kind},force-compression=true", f"type=registry,ref={ref}")
        check(all(x["mediaType"].endswith(media) for x in manifest(w, f"cache/{kind}", "c")["layers"]), f"all layers are {kind}")


def test_local(w):
    folder = w.folder("cache")
    _, _, _, r, _, _ = round_trip(w, f"type=local,dest={folder}", f"type=local,src={folder}")
    contains(r.err, "exporting cache to client directory")
    index = json.loads((folder / "index.json").read_text())
    equal(len(index["manifests"]), 1, "entries of the index")


def test_inline(w):
    name = f"{w.registry.host}/cache/inline:i"
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    first, second = w.daemon(), w.daemon()
    a, b = w.folder("out"), w.folder("out")
    build(first, context, "-t", name, "--push", "--cache-to", "type=inline")
    build(first, context, "-o", a)
    equal(ran(build(second, context, "-o", b, "--cache-from", name)), [], "steps that ran")
    equal(read(b), read(a), "the random content")


def test_inline_argument(w):
    """docker build --build-arg BUILDKIT_INLINE_CACHE=1, docker push, docker build --cache-from"""
    name = f"{w.registry.host}/cache/argument:i"
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    first, second = w.daemon(), w.daemon()
    a, b = w.folder("out"), w.folder("out")
    first.docker("build", "-t", name, "--build-arg", "BUILDKIT_INLINE_CACHE=1", context).ok()
    first.docker("push", name).ok()
    build(first, context, "-o", a, "--build-arg", "BUILDKIT_INLINE_CACHE=1")
    equal(ran(build(second, context, "-o", b, "--cache-from", name)), [], "steps that ran")
    equal(read(b), read(a), "the random content")


def test_inline_loaded(w):
    """An image that came by docker load, not from a registry."""
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    first, second = w.daemon(), w.daemon()
    a, b, tar = w.folder("out"), w.folder("out"), w.folder("tar") / "i.tar"
    first.docker("build", "-t", "nowhere.invalid/loaded:1", "--build-arg", "BUILDKIT_INLINE_CACHE=1", context).ok()
    first.docker("save", "-o", tar, "nowhere.invalid/loaded:1").ok()
    build(first, context, "-o", a)
    second.docker("load", "-i", tar).ok()
    equal(ran(build(second, context, "-o", b, "--cache-from", "nowhere.invalid/loaded:1")), [], "steps that ran")
    equal(read(b), read(a), "the random content")


def test_same_image(w):
    """From its own cache an image is the same image, bit for bit."""
    name = f"{w.registry.host}/cache/same:i"
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    digests = []
    for _ in range(3):
        d = w.daemon()
        md = w.folder("md") / "md.json"
        build(d, context, "-t", name, "--push", "--provenance=false", "--cache-to", "type=inline", "--cache-from", name, "--metadata-file", md)
        digests.append(json.loads(md.read_text())["containerimage.digest"])
    equal(len(set(digests)), 1, "digests")


def test_partial(w):
    """One file changed: what does not read it is CACHED, also what is reached by content only."""
    ref = f"{w.registry.host}/cache/partial:c"
    context, first, second, _, _, a = round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}")
    third, c = w.daemon(), w.folder("out")
    (context / "two").write_text("changed\n")
    (context / "unrelated").write_text("new\n")
    r = build(third, context, "-o", c, "--cache-from", f"type=registry,ref={ref}")
    equal(ran(r), ["[side 2/3] COPY two /two", "[side 3/3] RUN cat /two /proc/sys/kernel/random/uuid > /side", "[stage-2 2/2] COPY --from=side /side /"],
          "steps that ran")
    equal(read(c), read(a), "the random content")
    contains(read(c, "side"), "changed")


def test_without_import_afterwards(w):
    """What was imported is cache of this daemon from then on."""
    ref = f"{w.registry.host}/cache/after:c"
    context, first, second, _, _, a = round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}")
    b = w.folder("out")
    (context / "unrelated").write_text("new\n")
    equal(ran(build(second, context, "-o", b)), [], "steps that ran without --cache-from")
    equal(read(b), read(a), "the random content")


def test_lazy(w):
    """A cache goes from one place to another without anything being unpacked, and a build nobody wants the result of fetches nothing."""
    ref = f"{w.registry.host}/cache/lazy:c"
    context, first, second, _, _, a = round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}")
    third, fourth = w.daemon(), w.daemon()
    r = build(third, context, "--output", "type=cacheonly", "--cache-from", f"type=registry,ref={ref}", "--cache-to",
              f"type=registry,ref={ref}2,mode=max")
    equal(ran(r), [], "steps that ran")
    check("extracting" not in r.err, "nothing was unpacked:\n" + r.err)
    out = w.folder("out")
    equal(ran(build(fourth, context, "-o", out, "--cache-from", f"type=registry,ref={ref}2")), [], "steps that ran")
    equal(read(out), read(a), "the random content")


def test_lost_layers(w):
    """A cache whose layers are gone is no cache: the steps run."""
    ref = f"{w.registry.host}/cache/lost:c"
    context, first, second, _, _, a = round_trip(w, f"type=registry,ref={ref}", f"type=registry,ref={ref}")
    for layer in manifest(w, "cache/lost", "c")["layers"]:
        w.registry._call("DELETE", f"/v2/cache/lost/blobs/{layer['digest']}")
    third, c = w.daemon(), w.folder("out")
    build(third, context, "-o", c, "--cache-from", f"type=registry,ref={ref}")
    check(read(c) != read(a), "the step ran again")


def test_several(w):
    """Two caches, each with a half of what is needed."""
    dockerfiles = ["FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /a\n", "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /b\n"]
    both = ("FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid > /a\nFROM busybox AS b\nRUN cat /proc/sys/kernel/random/uuid > /b\n"
            "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
    refs = [f"{w.registry.host}/cache/several:{i}" for i in "ab"]
    for ref, text in zip(refs, dockerfiles):
        build(w.daemon(), w.context(text), "--cache-to", f"type=registry,ref={ref},mode=max")
    r = build(w.daemon(), w.context(both), "-o", w.folder("out"), *(x for ref in refs for x in ("--cache-from", ref)))
    equal([s for s in ran(r) if "RUN" in s], [], "RUN steps that ran")


def test_merge_and_link(w):
    """COPY --link makes merges: their layers are no chain."""
    text = ("FROM busybox AS a\nRUN cat /proc/sys/kernel/random/uuid > /a\nFROM busybox\nCOPY --link --from=a /a /x/\n"
            "RUN cat /x/a /proc/sys/kernel/random/uuid > /b\nCOPY --link one /y/\n")
    context = w.context(text, one="1\n")
    for mode in ("max", "min"):
        ref = f"{w.registry.host}/cache/link:{mode}"
        a, b = w.folder("out"), w.folder("out")
        build(w.daemon(), context, "-o", a, "--cache-to", f"type=registry,ref={ref},mode={mode}")
        equal(ran(build(w.daemon(), context, "-o", b, "--cache-from", ref)), [], f"steps that ran, {mode}")
        equal(read(b, "b"), read(a, "b"), "the random content")


def test_missing_cache(w):
    """A cache that is not there is told and does no harm."""
    d = w.shared()
    r = build(d, w.context("FROM busybox\nRUN true\n"), "--cache-from", f"{w.registry.host}/cache/nothing:here")
    contains(r.err, f"importing cache manifest from {w.registry.host}/cache/nothing:here")
    contains(r.err, "ERROR")


def test_refused(w):
    d = w.shared()
    context = w.context("FROM busybox\n")
    for args, text in ((("--cache-to", "type=nonsense"), 'unknown cache exporter: "nonsense"'),
                       (("--cache-to", "type=registry,ref=a.b/c:d", "--cache-to", "type=registry,ref=a.b/c:d,mode=max"), "duplicate cache exports [registry]"),
                       (("--cache-to", "type=registry,ref=a.b/c:d,image-manifest=true,oci-mediatypes=false"),
                        "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format")):
        context = w.context(f"FROM busybox\nRUN echo {len(text)}\n")
        d.docker("buildx", "build", *args, context).fails(text)
    for kind in ("gha", "s3", "azblob"):
        d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}",
                   "--export-cache", f"type={kind},bucket=x,region=y,token=z,url=u").fails(f'unknown cache exporter: "{kind}"')


def test_ignore_error(w):
    d = w.shared()
    context = w.context("FROM busybox\nRUN true\n")
    to = "type=registry,ref=127.0.0.1:1/x:y"
    d.docker("buildx", "build", "--cache-to", to, context).fails("failed to solve")
    build(d, context, "--cache-to", to + ",ignore-error=true")


def test_nothing_to_export(w):
    d = w.shared()
    r = build(d, w.context("FROM busybox\n"), "--cache-to", f"type=registry,ref={w.registry.host}/cache/empty:c")
    contains(r.err, "skipping cache export for empty result")


def test_buildctl(w):
    first, second = w.daemon(name="buildkitd"), w.daemon(name="buildkitd")
    context = w.context(DOCKERFILE, one="1\n", two="2\n")
    ref = f"{w.registry.host}/cache/buildctl:c"
    a, b = w.folder("out"), w.folder("out")
    common = ("build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}")
    first.buildctl(*common, "--output", f"type=local,dest={a}", "--export-cache", f"type=registry,ref={ref},mode=max").ok()
    r = second.buildctl(*common, "--output", f"type=local,dest={b}", "--import-cache", f"type=registry,ref={ref}").ok()
    equal(ran(r), [], "steps that ran")
    equal(read(b), read(a), "the random content")


def test_insecure_registry(w):
    """By a name that is not loopback's, a registry without TLS is spoken to only when the entry says so."""
    d, other = w.daemon(name="buildkitd"), w.daemon(name="buildkitd")
    context = w.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /unique\n")
    ref = f"type=registry,ref=0.0.0.0:{w.registry.port}/insecure-cache:latest"
    command = ["build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={context}"]
    d.buildctl(*command, "--export-cache", ref).fails("0.0.0.0")
    d.buildctl(*command, "--export-cache", f"{ref},registry.insecure=true").ok()
    r = other.buildctl(*command, "--import-cache", ref).ok()
    check("CACHED" not in r.err, "a cache that cannot be read is none")
    other.buildctl("prune", "--all").ok()
    contains(other.buildctl(*command, "--import-cache", f"{ref},registry.insecure=true").ok().err, "CACHED")
    d.buildctl(*command, "--export-cache", f"{ref},registry.insecure=maybe").fails("maybe")


def test_hostile(w):
    """Records that are none, loops, indices out of range: told, and the build goes on."""
    good = f"{w.registry.host}/cache/hostile:good"
    context = w.context("FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /u\n")
    build(w.shared(), context, "--cache-to", f"type=registry,ref={good},mode=max")
    m = manifest(w, "cache/hostile", "good")
    config = json.loads(w.registry._call("GET", f"/v2/cache/hostile/blobs/{m['config']['digest']}").read())
    layer = config["layers"][0]

    def change(**kw):
        return json.dumps({**config, **kw}).encode()
    loop = [{**layer, "parent": 1}, {**layer, "parent": 0}]
    records = config["records"]
    texts = [b"", b"{", b"[]", b"null", b'{"records":' + b"[" * 100000, change(layers=loop), change(layers=[{**layer, "parent": 7}]),
             change(records=[{**r, "inputs": [[{"link": 99}]]} for r in records]), change(records=[{**r, "inputs": [[{"link": 0}]]} for r in records]),
             change(records=[{**r, "layers": [{"layer": -1}]} for r in records]), change(layers=[{"blob": "sha256:../../x"}]),
             change(records=[{"digest": "x"}] * 100), change(layers=[]), change(records="x"), b'{"records":[' + b"{}," * 900000 + b"{}]}"]
    d = w.daemon()
    for i, text in enumerate(texts):
        w.registry._blob("cache/hostile", text)
        import hashlib
        doc = json.dumps({**m, "config": {**m["config"], "digest": "sha256:" + hashlib.sha256(text).hexdigest(), "size": len(text)}}).encode()
        w.registry._call("PUT", f"/v2/cache/hostile/manifests/h{i}", doc, {"Content-Type": m["mediaType"]})
        build(d, context, "--cache-from", f"{w.registry.host}/cache/hostile:h{i}", "-o", w.folder("out"))
        d.alive()


BIG = "FROM busybox\nRUN head -c 3000000 /dev/zero | tr '\\0' {0} > /{0}\n"


def usage(d):
    """Cache records by the last part of their description."""
    return {r["Description"]: r for r in d.json("GET", "/system/df?type=build-cache")["BuildCache"] or []}


def made(d, name):
    return [r for text, r in usage(d).items() if f"> /{name}" in text]


def test_prune_filters(w):
    d = w.daemon()
    for name in "ab":
        build(d, w.context(BIG.format(name)), "--output", "type=cacheonly")
    contains(d.docker("buildx", "du", "--verbose").ok().out, "Mutable:")
    (a,), (b,) = made(d, "a"), made(d, "b")
    prune = lambda *args: d.docker("builder", "prune", "-f", *args).ok()
    prune("--filter", "until=1h")
    status, _, _ = d.http("POST", "/build/prune?filters=" + urllib.parse.quote('{"until":["2020-01-01T00:00:00Z"]}'))
    equal(status, 200, "a moment")
    prune("--filter", "type=exec.cachemount")
    prune("--keep-storage", "1GB")
    check(made(d, "a") and made(d, "b"), "what no filter meets stays")
    prune("--filter", f"id={a['ID']}")
    check(not made(d, "a") and made(d, "b"), "one by its id")
    d.docker("builder", "prune", "-f", "--filter", "until=soon").fails("expects a duration")
    prune("-a")
    equal(usage(d), {}, "after all")


def test_buildctl_prune(w):
    d = w.daemon(name="buildkitd")
    c = w.context(BIG.format("a"))
    build = ["build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}"]
    d.buildctl(*build).ok()
    contains(d.buildctl("du", "--verbose").ok().out, "> /a")
    d.buildctl("prune", "--keep-duration", "1h").ok()
    d.buildctl("prune", "--filter", "type==exec.cachemount").ok()
    contains(d.buildctl("du", "--verbose").ok().out, "> /a")
    contains(d.buildctl("prune", "--all").ok().out, "Total:")
    check("> /a" not in d.buildctl("du", "--verbose").ok().out, "pruned")


@own
def test_automatic_collection(w):
    """By policy, soon after a build, without anybody asking."""
    mirrors = {"registry-mirrors": [f"http://{w.registry.host}"]}
    d = w.daemon(config={**mirrors, "builder": {"gc": {"enabled": True, "policy": [{"all": True, "maxUsedSpace": "1MB"}]}}})
    build(d, w.context(BIG.format("a")), "--output", "type=cacheonly")
    wait_for(lambda: not made(d, "a"), "the collection", 60)


def gc_rules(d):
    """What the daemon goes by, as buildctl shows it: each rule's lines in one string."""
    text = d.buildctl("debug", "workers", "-v").ok().out
    return [re.sub(r"\s+", " ", rule).strip() for rule in re.split(r"GC Policy rule#\d+:", text)[1:]]


def test_gc_settings(w):
    """Rules of buildkitd.toml, the numbers that the default rules are made of, and the flag's."""
    config = w.folder("gc") / "buildkitd.toml"
    rules = '[[worker.oci.gcpolicy]]\nkeepDuration = "48h"\nreservedSpace = "512MB"\nfilters = ["type==source.local"]\n' \
            '[[worker.oci.gcpolicy]]\nall = true\nmaxUsedSpace = "2GB"\nminFreeSpace = 1000000000\n'
    want = ["All: false Filters: type==source.local Keep duration: 48h0m0s Reserved space: 536.870912MB",
            "All: true Minimum free space: 1GB Maximum used space: 2.147483648GB"]
    config.write_text("[worker.oci]\nreservedSpace = \"3GB\"\n" + rules)
    for args in ([], ["--oci-worker-gc-keepstorage", "700"]):     # rules hold whatever the numbers are
        d = w.daemon("--oci-worker-gc=true", "--config", config, *args, name="buildkitd")
        equal(gc_rules(d), want, f"rules with {args}")
        d.stop()
    config.write_text('[worker.oci]\nreservedSpace = 3000000000\nmaxUsedSpace = 9000000000\nminFreeSpace = 1000000000\n')
    for args, numbers in ([], "Reserved space: 3GB Minimum free space: 1GB Maximum used space: 9GB"), \
                         (["--oci-worker-gc-keepstorage", "700,800,900"], "Reserved space: 700MB Minimum free space: 800MB Maximum used space: 900MB"):
        d = w.daemon("--oci-worker-gc=true", "--config", config, *args, name="buildkitd")
        default = gc_rules(d)
        equal(len(default), 4, "the default rules")
        contains(default[3], f"All: true {numbers}", "the last rule")
        d.stop()
    equal(gc_rules(w.daemon("--oci-worker-gc=false", name="buildkitd")), [], "no collection")


@own
def test_gc_by_toml(w):
    """What does not fit goes, the least used first; what a rule reserves stays."""
    config = w.folder("gc") / "buildkitd.toml"
    config.write_text(f'[registry."docker.io"]\n  mirrors = ["{w.registry.host}"]\n[registry."{w.registry.host}"]\n  http = true\n'
                      '[[worker.oci.gcpolicy]]\nall = true\nreservedSpace = "9MB"\nmaxUsedSpace = "9MB"\n')
    d = w.daemon("--config", config, name="buildkitd")
    names = lambda: [n for n in "abcde" if f"> /{n}" in d.buildctl("du", "--verbose").ok().out]
    for name in "abcde":
        c = w.context(BIG.format(name))
        d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}").ok()
    d.stop()
    d.start()       # it collects soon after that, else once a minute
    wait_for(lambda: "a" not in names(), "the collection", 90)
    check("e" in names(), f"the newest stays: {names()}")


def test_prune_beside_a_build(w):
    """What a build that runs holds is not dropped under it."""
    d = w.daemon()
    steps = "".join(f"RUN --mount=type=cache,target=/c date > /c/{i}; head -c 300000 /dev/urandom > /{i}\n" for i in range(12))
    p = d.spawn(w.clients / "bin/docker", "build", "-t", "whole", w.context("FROM busybox\n" + steps))
    while p.poll() is None:
        d.docker("builder", "prune", "-af").ok()
    equal(p.returncode, 0, p.stdout.read())
    equal(d.docker("run", "--rm", "whole", "sh", "-c", "cat /0 /11 | wc -c").ok().out.strip(), "600000", "its layers")
