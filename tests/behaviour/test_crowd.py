# SPDX-License-Identifier: Apache-2.0
"""Many at once: bake, concurrent solves, floods, slow readers, turns."""
import json
import os
import pathlib
import re
import signal

import harness
from harness import check, equal, own, weight

MEMORY_MIB = 200


def crowd(w, d, *args):
    program = harness.go_program(w.clients, harness.HERE / "crowd")
    return json.loads(harness.run([program, "-socket", d.socket, *args]).ok().out)


def peak_mib(d):
    """The most that the daemon ever had resident, with what it shares: more than its PSS."""
    status = pathlib.Path(f"/proc/{d.process.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) / 1024


@own
@weight(5)
def test_bake_of_fifty_targets(w):
    """buildx bake: one context for all, a build each, all of them held open until the last is evaluated."""
    d = w.daemon()
    targets = {f"t{n}": {"context": ".", "args": {"N": str(n)}, "tags": [f"baked:{n}"]} for n in range(50)}
    c = w.context("FROM busybox\nARG N\nCOPY f /f\nRUN echo shared > /s\nRUN echo $N > /n\n", f="f",
                  **{"bake.json": json.dumps({"group": {"default": {"targets": list(targets)}}, "target": targets})})
    d.docker("buildx", "bake", "-f", "bake.json", cwd=c).ok()
    listed = d.docker("images", "--format", "{{.Tag}}", "baked").ok().out.split()
    equal(sorted(listed, key=int), [str(n) for n in range(50)], "tags")
    for n in (0, 31, 49):
        equal(d.docker("run", "--rm", f"baked:{n}", "cat", "/n", "/s", "/f").ok().out, f"{n}\nshared\nf", f"output of {n}")
    check(peak_mib(d) < MEMORY_MIB, f"the daemon needed {peak_mib(d):.0f} MiB")


@own
@weight(5)
def test_two_hundred_solves(w):
    """All at once, half of them of one graph; twenty clients read no status before all others have ended."""
    d = w.daemon()
    equal(crowd(w, d, "solves", "200", "5", "20"), {"solved": 200}, "solves")
    d.alive()
    check(peak_mib(d) < MEMORY_MIB, f"the daemon needed {peak_mib(d):.0f} MiB")


@own
def test_large_graph(w):
    """A waiting vertex is a struct; the second time nothing runs."""
    d = w.daemon(name="buildkitd")
    equal(crowd(w, d, "-direct", "graph", "200", "2")["vertices"], 200, "vertices")
    check(peak_mib(d) < MEMORY_MIB, f"the daemon needed {peak_mib(d):.0f} MiB")


@own
def test_base_images_asked_ahead(w):
    """The registry is asked for the last build's base image, and the client for .dockerignore, while the Dockerfile travels, and once only;
    a Dockerfile that names another image, or has a .dockerignore of its own, gets what it asks for, an error too."""
    d = w.daemon()
    w.registry.push("library/other", "latest", harness.Image([harness.busybox_layer()]))
    asked = crowd(w, d, "ahead", w.registry.host)
    equal(asked[:2], [["library/busybox"], ["library/busybox"]], "tags asked for")
    equal(sorted(asked[2]), ["library/busybox", "library/other"], "tags asked for when the Dockerfile has changed")
    equal(asked[3], ["library/other"], "tags asked for with the Dockerfile's own .dockerignore")
    equal(asked[4], ["library/other"], "tags asked for when the image is gone: its answer is the build's, nobody asks again")


def reading(p, text):
    """Read a client's output up to a text; it goes on."""
    seen = b""
    while text not in seen:
        more = p.stdout.read1(65536)
        check(more, f"the client ended:\n{seen[-2000:].decode(errors='replace')}")
        seen += more


@own
def test_flood_and_stopped_reader(w):
    """A step that floods its log, before a client that does not read: other builds do not notice, and the log is clipped."""
    d = w.daemon()
    c = w.context("FROM busybox\nRUN echo begins && yes floods | head -c 40000000 && sleep 1000\n")
    flood = d.spawn(w.clients / "bin/docker", "build", "--progress", "plain", c, process_group=0)  # with its plugin
    reading(flood, b" begins")
    os.killpg(flood.pid, signal.SIGSTOP)
    d.docker("build", "-t", "calm", w.context("FROM busybox\nRUN echo calm > /c\n")).ok()
    equal(d.docker("run", "--rm", "calm", "cat", "/c").ok().out, "calm\n", "the other build")
    os.killpg(flood.pid, signal.SIGCONT)
    reading(flood, b"output clipped")
    check(flood.poll() is None, "the step that floods is still at work")
    check(peak_mib(d) < MEMORY_MIB, f"the daemon needed {peak_mib(d):.0f} MiB")
    os.killpg(flood.pid, signal.SIGTERM)
    flood.communicate()


@own
def test_steps_take_turns(w):
    """One step at a time: a build of two steps ends while one of thirty is at work; and whole builds are never queued."""
    d = w.daemon("--oci-max-parallelism", "1", name="buildkitd")
    many = "FROM busybox AS b\n" + "".join(f"FROM b AS s{i}\nRUN sleep 1 && echo {i} > /o{i}\n" for i in range(30)) + "FROM scratch\n"
    many += "".join(f"COPY --from=s{i} /o{i} /\n" for i in range(30))

    def build(c):
        return ["build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}"]
    big = d.spawn(w.clients / "bin/buildctl", *build(w.context(many)))
    reading(big, b"RUN sleep 1")
    d.buildctl(*build(w.context("FROM busybox\nRUN echo a > /a\nRUN echo b > /b\n"))).ok()
    check(big.poll() is None, "the small build came last")
    big.terminate()
    big.communicate()
