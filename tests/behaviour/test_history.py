# SPDX-License-Identifier: Apache-2.0
"""The history of builds: what is kept of each, over restarts, until it is removed or too old."""
import base64
import json
import os
import signal
import time

from harness import check, contains, equal, own, weight

GOOD = "from busybox AS A\nARG WORD=none\nRUN echo heard $WORD\nCOPY f /f\n"
BAD = "FROM busybox\nRUN echo seen; exit 7\n"


def refs(d):
    return [json.loads(line)["ref"].split("/")[-1] for line in
            d.docker("buildx", "history", "ls", "--no-trunc", "--format", "json").ok().out.splitlines()]


def told(d, ref):
    """All that clients show of a record."""
    inspected = json.loads(d.docker("buildx", "history", "inspect", ref, "--format", "json").ok().out)
    if "Error" in inspected:
        inspected["Error"].pop("Stack")  # it names the process that asks
    out = {"inspect": inspected, "logs": d.docker("buildx", "history", "logs", ref, "--progress=plain").ok().err,
           "row": [line for line in d.docker("buildx", "history", "ls", "--no-trunc", "--format", "json").ok().out.splitlines()
                   if ref in line],
           "spans": d.buildctl("debug", "logs", "--trace", ref).out}
    out["attached"] = [d.docker("buildx", "history", "inspect", "attachment", ref, a["Digest"]).ok().out
                       for a in inspected.get("Attachments", [])]
    return out


def builds(w, d):
    """-> refs of one that went well, one that failed, one for two platforms."""
    c = w.context(GOOD, f="content\n")
    d.docker("buildx", "build", "-t", "kept", "--build-arg", "WORD=hello", "--label", "a=b", c).ok()
    d.docker("buildx", "build", w.context(BAD)).fails("exit code: 7")
    d.docker("buildx", "build", "--platform=linux/amd64,linux/arm64", "-t", "kept:two", w.context("FROM busybox\nCOPY f /f\n", f="x")).ok()
    two, bad, good = refs(d)
    return good, bad, two


def test_records(w):
    """Steps, warnings, arguments, platforms, the failure with its place, and what is attached."""
    d = w.daemon()
    good, bad, two = builds(w, d)
    t = told(d, good)
    i = t["inspect"]
    equal((i["Status"], i["NumTotalSteps"], i["NumCompletedSteps"], i["NumCachedSteps"]), ("completed", 8, 8, 0), "steps")
    check(i.get("BuildArgs") == [{"Name": "WORD", "Value": "hello"}] and i.get("Labels") == [{"Name": "a", "Value": "b"}], i)
    check(any("busybox" in m["URI"] for m in i["Materials"]), i["Materials"])
    contains(t["logs"], "heard hello")
    contains(t["logs"], "WARN: StageNameCasing: Stage name 'A' should be lowercase (line 1)")
    check(any("buildDefinition" in x for x in t["attached"]), i["Attachments"])
    t = told(d, bad)
    equal(t["inspect"]["Status"], "failed", "status")
    e = t["inspect"]["Error"]
    equal((e["Code"], e["Name"], e["Logs"]), (2, "[2/2] RUN echo seen; exit 7", ["seen"]), "error")
    contains(e["Message"], "did not complete successfully: exit code: 7")
    contains(base64.b64decode(e["Sources"]).decode(), "   2 | >>> RUN echo seen; exit 7")
    equal(sorted(a["Platform"] for a in told(d, two)["inspect"]["Attachments"] if "provenance" in a["Type"]),
          ["linux/amd64", "linux/arm64"], "attachments")


def test_filters(w):
    """By state, by time and by how long it took; all of one entry, or one of several."""
    d = w.daemon()
    good, bad, two = builds(w, d)
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    for filters, want in ((["status=error"], {bad}), (["status!=error"], {good, two}), (["startedAt>1h"], {good, bad, two}),
                          (["startedAt<1h"], set()), (["startedAt>" + day], set()), (["completedAt<" + day], {good, bad, two}),
                          (["duration>1ns"], {good, bad, two}), (["duration<1ns"], set()),
                          (["status=completed", "duration<100h"], {good, two}), (["status=error", "duration>100h"], set())):
        listed = d.docker("buildx", "history", "ls", "--no-trunc", "--format", "{{.Ref}}", *(x for f in filters for x in ("--filter", f))).ok().out
        equal({line.split("/")[-1] for line in listed.split()}, want, f"records of {filters}")
    for wrong in ("startedAt>yesterday", "duration>long"):
        d.docker("buildx", "history", "ls", "--filter", wrong).fails("invalid", wrong.split(">")[1])


def test_image_removed(w):
    """What was attested of an image that is gone can be read, and so can its manifest."""
    d = w.daemon()
    d.docker("buildx", "build", "-t", "gone", "--provenance=true", w.context(GOOD, f="content\n")).ok()
    ref = refs(d)[0]
    before = told(d, ref)
    check(len(before["attached"]) >= 2, before["inspect"])
    d.docker("rmi", "gone").ok()
    d.docker("image", "prune", "-f").ok()
    d.docker("builder", "prune", "-af").ok()
    after = told(d, ref)
    for what in ("inspect", "attached"):
        equal(after[what], before[what], what)


@own
@weight(6)
def test_restart(w):
    """The record of a build is the same after a stop and after a crash; a removed one does not come back."""
    d = w.daemon()
    good, bad, two = builds(w, d)
    before = {ref: told(d, ref) for ref in (two, bad, good)}
    for how in (signal.SIGTERM, signal.SIGKILL):
        d.kill(how)
        d.start()
        equal(refs(d), list(before), f"records after {how}")
    for ref in before:
        equal(told(d, ref), before[ref], "what is told")
    d.docker("buildx", "history", "rm", bad).ok()
    files = set(os.listdir(d.root / "history"))
    d.kill()
    (d.root / "history" / ("0" * 64)).write_text("of no record")
    (d.root / "history" / "half").write_text("of no record")
    d.start()
    equal(refs(d), [two, good], "records after the removal")
    equal(set(os.listdir(d.root / "history")), files, "files of the history")
    d.docker("buildx", "build", "-t", "kept", w.context(GOOD, f="content\n")).ok()
    equal(len(refs(d)), 3, "records with one more build")
    d.docker("buildx", "history", "rm", "--all").ok()
    equal(os.listdir(d.root / "history"), [], "files of an empty history")


@own
def test_lost_files(w):
    """What was lost of a record is missing from it; the rest is told."""
    d = w.daemon()
    good, bad, _ = builds(w, d)
    text = told(d, good)["logs"]
    d.kill()
    for f in (d.root / "history").iterdir():
        if b"buildDefinition" in f.read_bytes():
            f.write_text("short")
    d.start()
    d.docker("buildx", "history", "inspect", "attachment", good, "--type", "provenance").fails()
    equal(d.docker("buildx", "history", "logs", good, "--progress=plain").ok().err, text, "log")
    contains(d.docker("buildx", "history", "inspect", bad).ok().out, "exit code: 7")


@own
def test_expiry(w):
    """More than maxEntries and older than maxAge: gone; what is pinned stays, over restarts as well."""
    config = {"registry-mirrors": [f"http://{w.registry.host}"]}
    d = w.daemon(config=config)
    c = w.context("FROM scratch\nCOPY f /f\n", f="x")
    for _ in range(4):
        d.docker("buildx", "build", c).ok()
    all_four = refs(d)
    d.buildctl("debug", "histories").ok()
    d.kill(signal.SIGTERM)
    d.config = {**config, "builder": {"history": {"maxEntries": 2, "maxAge": "1ns"}}}
    d.start()
    equal(refs(d), all_four[:2], "the newest two")
    d.docker("buildx", "build", c).ok()
    equal(refs(d)[1:], all_four[:1], "with one more")
