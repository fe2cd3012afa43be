# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles as cases: what minke makes of each equals what the real buildkitd made of it.

cases/NAME/ holds the context (Dockerfile and files) and beside it, not part of the context:
    args            words for `docker build`, run in the context's folder
    env             NAME=VALUE lines for the client
    setup           shell script that completes the context (links, owners, archives: what git cannot hold)
    expected.json   recorded by cases/record: config, history, layers and files of each platform's image; or the text of the failure

@REGISTRY@ in args, env and Dockerfile is the test registry's address.
"""
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
import time
import zlib

import harness
from harness import Failure, check, run

CASES = harness.HERE / "cases"
BESIDE = ("args", "env", "setup", "expected.json")
NOW = time.time() - 86400


# ---- the context -------------------------------------------------------------------------------------------------------

def materialise(w, case):
    """A copy of the case's context with fixed modes, owners and times."""
    c = w.folder("case")
    for src in sorted(case.rglob("*")):
        rel = src.relative_to(case)
        if str(rel) in BESIDE:
            continue
        dst = c / rel
        if src.is_symlink():
            dst.symlink_to(os.readlink(src))
        elif src.is_dir():
            dst.mkdir()
            dst.chmod(0o755)
        else:
            shutil.copyfile(src, dst)
            dst.chmod(0o755 if os.access(src, os.X_OK) and src.stat().st_mode & 0o100 else 0o644)
            if rel.name.endswith("Dockerfile"):
                dst.write_text(fill(w, dst.read_text()))
    setup = case / "setup"
    if setup.exists():
        run(["sh", "-eu", setup], cwd=c, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}).ok()
    for x in [c, *sorted(c.rglob("*"))]:
        os.utime(x, (1700000000, 1700000000), follow_symlinks=False)
    return c


def fill(w, text):
    return text.replace("@REGISTRY@", w.registry.host)


# ---- the result --------------------------------------------------------------------------------------------------------

class Node:
    def __init__(self, i, data):
        kind = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
                tarfile.FIFOTYPE: "fifo"}[i.type]
        self.show = {"kind": kind, "mode": oct(i.mode), "owner": f"{i.uid}:{i.gid}"}
        if kind == "symlink":
            self.show["to"] = i.linkname
        if kind in ("char", "block"):
            self.show["device"] = f"{i.devmajor}:{i.devminor}"
        if kind == "file":
            self.show["size"] = len(data)
            try:
                text = data.decode() if len(data) <= 400 else None
            except UnicodeDecodeError:
                text = None
            self.show["text" if text is not None else "sha256"] = text if text is not None else hashlib.sha256(data).hexdigest()
        if i.mtime < NOW and kind != "dir":
            self.show["mtime"] = int(i.mtime)
        x = {k[13:]: v for k, v in i.pax_headers.items() if k.startswith("SCHILY.xattr.")}
        if x:
            self.show["xattrs"] = x


def apply(tree, layer):
    """Apply a layer's tar to tree (name -> Node); -> the names it holds, in its order."""
    names = []
    with tarfile.open(fileobj=io.BytesIO(layer)) as t:
        for i in t:
            name = i.name.strip("/")
            names.append(name + ("/" if i.isdir() else ""))
            parent, _, base = name.rpartition("/")
            prefix = parent + "/" if parent else ""
            if base == ".wh..wh..opq":
                gone = [k for k in tree if k.startswith(prefix)]
            elif base.startswith(".wh."):
                k0 = prefix + base[4:]
                gone = [k for k in tree if k == k0 or k.startswith(k0 + "/")]
            else:
                if not i.isdir():
                    for k in [k for k in tree if k.startswith(name + "/")]:
                        del tree[k]
                tree[name] = tree[i.linkname.strip("/")] if i.islnk() else Node(i, t.extractfile(i).read() if i.isreg() else b"")
                continue
            for k in gone:
                del tree[k]
    return names


def plain(blob):
    if blob[:2] == b"\x1f\x8b":
        return zlib.decompress(blob, 47)
    return blob


def image(blobs, manifest, base):
    """What is recorded of one image. base: (diff ID, tree) of the layer that most images begin with; what equals it is left out."""
    config = json.loads(blobs[manifest["config"]["digest"]])
    tree, layers = {}, [] if manifest["layers"] is not None else None
    for d, diff in zip(manifest["layers"] or [], config["rootfs"]["diff_ids"] or [], strict=True):
        data = plain(blobs[d["digest"]])
        harness.equal(harness.sha(data), diff, "a layer's diff ID")
        names = apply(tree, data)
        layers.append("base" if diff == base[0] else sorted(names))
    based = (config["rootfs"]["diff_ids"] or [])[:1] == [base[0]]
    same = {}
    for k, n in tree.items():
        same.setdefault(id(n), []).append(k)
    files = {}
    for k, n in sorted(tree.items()):
        show = dict(n.show)
        others = sorted(x for x in same[id(n)] if x != k)
        if others:
            show["links"] = others
        if not (based and k in base[1] and base[1][k].show == show):
            files[k] = show
    config.pop("created", None)
    config["rootfs"] = len(config["rootfs"]["diff_ids"]) if config["rootfs"]["diff_ids"] is not None else None
    for h in config.get("history") or []:
        h.pop("created", None)
    r = {"config": config, "layers": layers, "files": files}
    if based:
        r["removed"] = sorted(k for k in base[1] if k not in tree)
    return r


def result(path, base):
    blobs = {}
    with tarfile.open(path) as t:
        for i in t:
            if i.isreg():
                data = t.extractfile(i).read()
                if i.name.startswith("blobs/sha256/"):
                    harness.equal(harness.sha(data), "sha256:" + i.name[13:], "a blob's digest")
                    blobs["sha256:" + i.name[13:]] = data
                elif i.name == "index.json":
                    index = json.loads(data)
    images = {}
    todo = list(index["manifests"])
    while todo:
        d = todo.pop()
        m = json.loads(blobs[d["digest"]])
        if "manifests" in m:
            todo += m["manifests"]
        else:
            r = image(blobs, m, base)
            images["/".join(filter(None, (r["config"].get("os"), r["config"].get("architecture"), r["config"].get("variant"))))] = r
    return images


def steps(text):
    """The names of the Dockerfile's steps as the client showed them."""
    return sorted({m[1] for m in re.finditer(r"^#\d+ (\[.*)$", text, re.M) if not m[1].startswith(("[internal]", "[auth]"))})


def normal(w, text, c):
    text = text.replace(w.registry.host, "@REGISTRY@").replace(str(c), "@CONTEXT@")
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:@", text)
    text = re.sub(r"^(#\d+ )?\d+\.\d+ ", "@ ", text, flags=re.M)
    text = re.sub(r"checksum of ref \S+:", "checksum of ref @REF@:", text)
    text = re.sub(r"^@ (runc|crun|executable file) .*\n", "", text, flags=re.M)  # the runtime's own words
    return text


def failure(w, text, c):
    """From the first rule on, or the last line: the log of the failed step, the code frame, the message."""
    text = normal(w, text, c)
    m = re.search(r"^(------|Dockerfile\S*:\d+|\S*Dockerfile:\d+|ERROR: )", text, re.M)
    # the rows that went before are another matter; a hint to the client's own history is not the daemon's
    return re.sub(r"\nView build details: .*", "", text[m.start():] if m else text).strip()


# ---- the test ----------------------------------------------------------------------------------------------------------

def base_of(w):
    if not hasattr(w, "base_tree"):
        data = harness.busybox_layer()
        tree = {}
        apply(tree, data)
        w.base_tree = (harness.sha(data), tree)
    return w.base_tree


def remote(w, d):
    """buildx's remote driver on buildkitd's socket."""
    if not hasattr(d, "builder"):
        d.docker("buildx", "create", "--driver", "remote", "--name", "r", f"unix://{d.socket}").ok()
        d.builder = "r"
    return ["--builder", d.builder]


def build(w, case):
    c = materialise(w, case)
    d = w.face("buildkitd" if w.peer or zlib.crc32(case.name.encode()) % 4 == 0 else "dockerd")
    words = shlex.split(fill(w, (case / "args").read_text())) if (case / "args").exists() else []
    env = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "NO_COLOR": "1", "DOCKER_CLI_HINTS": "false"}
    if (case / "env").exists():
        env |= dict(line.split("=", 1) for line in fill(w, (case / "env").read_text()).splitlines())
    out = c.parent / (c.name + ".tar")
    if "." not in words and "-" not in words:
        words.append(".")
    r = d.docker("buildx", "build", *(remote(w, d) if d.name == "buildkitd" else []), "--progress=plain", "-o", f"type=oci,dest={out}", *words,
                 cwd=c, env=env, stdin=(c / "Dockerfile").read_bytes() if "-" in words else None)
    if r.code:
        return {"error": failure(w, r.err, c)}
    return {"images": result(out, base_of(w)), "steps": sorted({normal(w, s, c) for s in steps(r.err)})}


def differences(have, want, path=""):
    if isinstance(have, dict) and isinstance(want, dict):
        r = []
        for k in sorted({*have, *want}):
            if k not in have:
                r.append(f"{path}/{k}: missing, want {json.dumps(want[k])[:300]}")
            elif k not in want:
                r.append(f"{path}/{k}: should not be: {json.dumps(have[k])[:300]}")
            else:
                r += differences(have[k], want[k], f"{path}/{k}")
        return r
    if have == want:
        return []
    if isinstance(have, str) and "\n" in have + str(want):
        return [f"{path}: have:\n{have}\n{path}: want:\n{want}"]
    return [f"{path}: have {json.dumps(have)[:1500]}\n{' ' * len(path)}  want {json.dumps(want)[:1500]}"]


def one(w, case):
    have = build(w, case)
    expected = case / "expected.json"
    if os.environ.get("RECORD"):
        expected.write_text(json.dumps(have, indent=1, sort_keys=True) + "\n")
        return
    check(expected.exists(), "no expected.json: run cases/record")
    d = differences(have, json.loads(expected.read_text()))
    if d:
        raise Failure("\n".join(d[:12]))


def cases():
    return [(p.name, lambda w, p=p: one(w, p)) for p in sorted(CASES.iterdir()) if p.is_dir()]
