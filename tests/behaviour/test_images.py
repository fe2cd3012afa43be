# SPDX-License-Identifier: Apache-2.0
"""Images in the store: names, removal rules, save and load, import, history, disk usage; equal layers in one image."""
import gzip
import json
import tarfile

import archives
from harness import check, contains, equal, own


def names(d, *args):
    return sorted(d.docker("images", "--format", "{{.Repository}}:{{.Tag}}", *args).ok().out.split())


def test_equal_layers_in_one_image(w):
    d = w.shared()
    d.docker("build", "-t", "equal", w.context("FROM busybox\nRUN true\nRUN true\nRUN echo a > /a\nCOPY f /f\nRUN rm /f\nCOPY f /f\n", f="same")).ok()
    equal(d.docker("run", "--rm", "equal", "cat", "/a", "/f").ok().out, "a\nsame", "output")
    d.docker("build", w.context("FROM equal\nRUN cat /a /f > /b && test \"$(cat /b)\" = \"$(printf 'a\\nsame')\"\n")).ok()


def test_tag_and_remove(w):
    d = w.daemon()
    d.docker("build", "-t", "one", w.context("FROM busybox\nRUN echo 1 > /1\n")).ok()
    d.docker("tag", "one", "two:v2").ok()
    d.docker("tag", "two:v2", "reg.example:5000/three/x:v3").ok()
    equal(names(d), ["one:latest", "reg.example:5000/three/x:v3", "two:v2"], "images")
    ids = set(d.docker("images", "-q", "--no-trunc").ok().out.split())
    equal(len(ids), 1, "ids")
    r = d.docker("rmi", "two:v2").ok()
    equal(r.out, "Untagged: two:v2\n", "rmi of one of several names")
    d.docker("rmi", ids.copy().pop()).fails("unable to delete", "(must be forced) - image is referenced in multiple repositories")
    d.docker("rmi", "nosuch").fails("No such image: nosuch")
    r = d.docker("rmi", "-f", ids.copy().pop()).ok()
    contains(r.out, "Untagged: one:latest")
    equal(names(d), [], "images at the end")


def test_remove_of_a_used_image(w):
    d = w.daemon()
    d.docker("build", "-t", "used", w.context("FROM busybox\nRUN echo 1 > /1\n")).ok()
    d.docker("run", "--name", "user", "used", "true").ok()
    d.docker("rmi", "used").fails("conflict: unable to", "container")
    d.docker("rmi", "-f", "used").ok()
    equal(names(d), ["<none>:<none>"], "images: it stays for its container, without a name")
    d.docker("rm", "user").ok()


def test_rebuild_leaves_the_old_untagged(w):
    d = w.daemon()
    for n in "12":
        d.docker("build", "-t", "same", w.context(f"FROM busybox\nRUN echo {n} > /n\n")).ok()
    equal(d.docker("run", "--rm", "same", "cat", "/n").ok().out, "2\n", "the newer")
    equal(names(d), ["same:latest"], "images")


@own  # two dockerds do not share a network namespace
def test_save_and_load(w):
    d, other = w.daemon(), w.daemon()
    d.docker("build", "-t", "saved:1", w.context("FROM busybox\nENV A=b\nRUN echo content > /c && ln /c /d && ln -s c /e && chmod 4711 /c\nCMD cat /c\n")).ok()
    d.docker("tag", "saved:1", "again:2").ok()
    path = w.folder("s") / "s.tar"
    d.docker("save", "-o", path, "saved:1", "again:2").ok()
    with tarfile.open(path) as t:
        held = t.getnames()
        for n in ("manifest.json", "index.json", "oci-layout"):
            check(n in held, f"{n} is not in {held}")
        m = json.load(t.extractfile("manifest.json"))
        equal(sorted(x for i in m for x in i["RepoTags"]), ["again:2", "saved:1"], "RepoTags")
    r = other.docker("load", "-i", path).ok()
    contains(r.out, "Loaded image: saved:1")
    contains(r.out, "Loaded image: again:2")
    equal(names(other), ["again:2", "saved:1"], "images")
    a, b = (json.loads(x.docker("inspect", "saved:1").ok().out)[0] for x in (d, other))
    equal(a["Id"], b["Id"], "id")
    equal(a["RootFS"], b["RootFS"], "RootFS")
    equal(other.docker("run", "--rm", "saved:1").ok().out, "content\n", "output")
    equal(other.docker("run", "--rm", "saved:1", "stat", "-c", "%a %h", "/d").ok().out, "4711 2\n", "hard link")
    # and back through a pipe
    r = d.docker("load", stdin=path.read_bytes()).ok()
    contains(r.out, "Loaded image: saved:1")
    d.docker("load", stdin=b"not an archive").fails()
    d.docker("save", "nosuch", "-o", path).fails("nosuch")


def test_history(w):
    d = w.shared()
    d.docker("build", "-t", "hist", w.context("FROM busybox\nENV A=b\nRUN echo some > /x\nLABEL k=v\n")).ok()
    rows = d.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "hist").ok().out.splitlines()
    equal(rows[:3], ["LABEL k=v|buildkit.dockerfile.v0", "RUN /bin/sh -c echo some > /x # buildkit|buildkit.dockerfile.v0", "ENV A=b|buildkit.dockerfile.v0"], "rows")
    sizes = d.docker("history", "--human=false", "--format", "{{.Size}}", "hist").ok().out.split()
    equal(sizes[0], "0", "size of LABEL")
    check(int(sizes[1]) > 0, f"size of RUN: {sizes}")


def test_import(w):
    d = w.shared()
    tar = archives.member("hello", data=b"hi\n", mode=0o640, uid=5) + b"\0" * 1024
    p = w.folder("i") / "i.tar"
    p.write_bytes(tar)
    r = d.docker("import", "-c", "CMD [\"/hello\"]", "-c", "ENV A=b", "-m", "from a tar", p, "imp:1").ok()
    check(r.out.startswith("sha256:"), r.out)
    i = json.loads(d.docker("inspect", "imp:1").ok().out)[0]
    equal(i["Config"]["Cmd"], ["/hello"], "Cmd")
    equal(i["Config"]["Env"], ["A=b"], "Env")
    d.docker("build", w.context("FROM busybox\nRUN --mount=from=imp:1,target=/i test \"$(stat -c '%a %u' /i/hello)\" = '640 5'\n")).ok()


def test_pull(w):
    d = w.daemon()
    r = d.docker("pull", "busybox").ok()
    contains(r.out, "Status: Downloaded newer image for busybox:latest")
    contains(d.docker("pull", "busybox").ok().out, "Status: Image is up to date for busybox:latest")
    digest = json.loads(d.docker("inspect", "busybox").ok().out)[0]["RepoDigests"][0]
    check(digest.startswith("busybox@sha256:"), digest)
    d.docker("pull", digest).ok()
    r = d.docker("pull", f"{w.registry.host}/no/such:x")
    r.fails("not found" if w.peer else "o/such")
    d.docker("pull", "--platform", "linux/arm64", "busybox").ok()


def test_disk_usage_and_prune(w):
    d = w.daemon()
    d.docker("build", "-t", "du", w.context("FROM busybox\nRUN head -c 3000000 /dev/zero | tr '\\0' x > /big\n")).ok()
    out = d.docker("system", "df").ok().out
    for word in ("Images", "Containers", "Local Volumes", "Build Cache"):
        contains(out, word)
    df = d.json("GET", "/system/df")
    check(df is not None, df)
    contains(d.docker("buildx", "du").ok().out, "Total:")
    d.docker("rmi", "du").ok()
    contains(d.docker("builder", "prune", "-af").ok().out, "Total")
    d.docker("image", "prune", "-af").ok()
    d.docker("build", "-t", "du", w.context("FROM busybox\nRUN echo after > /x\n")).ok()
    equal(d.docker("run", "--rm", "du", "cat", "/x").ok().out, "after\n", "a build after the prune")


def test_filters(w):
    d = w.daemon()
    d.docker("build", "-t", "fa:1", "--label", "kind=a", w.context("FROM busybox\n")).ok()
    d.docker("build", "-t", "fb:1", "--label", "kind=b", w.context("FROM busybox\n")).ok()
    equal(names(d, "--filter", "label=kind=a"), ["fa:1"], "label")
    equal(names(d, "--filter", "reference=f*:1"), ["fa:1", "fb:1"], "reference")
    equal(names(d, "fb"), ["fb:1"], "name")


def test_docker_py_images(w):
    d = w.shared()
    script = '''
import docker, io
c = docker.from_env()
im = c.images.pull("busybox", tag="latest")
assert any(t.endswith("busybox:latest") for t in im.tags), im.tags
assert im.tag("py/one", tag="t")
assert "py/one:t" in c.images.get("py/one:t").tags
assert im.history()
data = b"".join(im.save(named=True))
c.images.remove("py/one:t")
try:
    c.images.get("py/one:t")
    raise SystemExit("still there")
except docker.errors.ImageNotFound:
    pass
loaded = c.images.load(data)
assert loaded and loaded[0].id, loaded
assert [i for i in c.images.list() if i.id == im.id]
'''
    from harness import run
    run([w.clients / "venv/bin/python", "-c", script], env=d.env()).ok()


def test_shared_size(w):
    d = w.daemon()
    d.docker("build", "-t", "one", w.context("FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\n")).ok()
    d.docker("build", "-t", "two", w.context("FROM busybox\nRUN head -c 5000000 /dev/urandom > /big\n")).ok()
    d.docker("tag", "one", "again").ok()

    def sizes():
        return {i["RepoTags"][0]: (i["Size"], i["SharedSize"]) for i in d.json("GET", "/v1.50/images/json?shared-size=1")}
    one, two = sizes()["again:latest"], sizes()["two:latest"]
    check(one[1] == two[1] > 0, f"what both have: {one}, {two}")
    check(3e6 <= one[0] - one[1] < 4.3e6 and 5e6 <= two[0] - two[1] < 6.3e6, f"what each has alone: {one}, {two}")
    equal(d.json("GET", "/v1.50/images/json")[0]["SharedSize"], -1, "when nobody asks")
    usage = d.json("GET", "/v1.52/system/df?type=image")["ImageUsage"]
    equal(usage["TotalSize"], one[0] + two[0] - one[1], "all together")
    equal(usage["Reclaimable"], one[0] + two[0] - 2 * one[1], "what can go")
    d.docker("rmi", "two").ok()
    equal(sizes()["again:latest"][1], 0, "alone")


def test_load_says_why(w):
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    saved = d.http("GET", "/images/busybox/get")[2]
    status, _, body = d.http("POST", "/images/load", saved[:len(saved) // 2])
    contains(body.decode(), "the archive ends early")
    broken = bytearray(gzip.compress(saved, 1))
    broken[len(broken) // 2] ^= 0xff
    status, _, body = d.http("POST", "/images/load", bytes(broken))
    check("ends early" not in body.decode() and status >= 400 or b"error" in body, body)
