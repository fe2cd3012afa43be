# SPDX-License-Identifier: Apache-2.0
"""What a build's status stream says: steps and their inputs, rows, logs, warnings, groups, errors, as --progress=rawjson has them."""
import base64
import http.server
import json
import re
import threading

from harness import check, contains, equal


class Stream:
    """The stream of one build, merged: .steps by name, in the order of their first event."""

    def __init__(self, result):
        self.result, self.steps, by_digest = result, {}, {}
        for line in result.err.splitlines():
            if not line.startswith("{"):
                continue
            o = json.loads(line)
            for v in o.get("vertexes") or []:
                s = by_digest.setdefault(v["digest"], {"rows": {}, "logs": {1: b"", 2: b""}, "warnings": []})
                s.update(v)
            for r in o.get("statuses") or []:
                by_digest[r["vertex"]]["rows"].setdefault(r["id"], {}).update(r)
            for x in o.get("logs") or []:
                by_digest[x["vertex"]]["logs"][x["stream"]] += base64.b64decode(x["data"])
            for x in o.get("warnings") or []:
                by_digest[x["vertex"]]["warnings"].append(base64.b64decode(x["short"]).decode())
        self.names = {d: s["name"] for d, s in by_digest.items()}
        for s in by_digest.values():
            key = s["name"] if s["name"] not in self.steps else s["name"] + " again"
            self.steps[re.sub("@sha256:[0-9a-f]{64}", "", key)] = s

    def inputs(self, name):
        return [re.sub("@sha256:[0-9a-f]{64}", "", self.names[d]) for d in self.steps[name].get("inputs", [])]


def stream(d, *args):
    return Stream(d.docker("buildx", "build", "--progress=rawjson", *args))


def test_steps(w):
    d = w.daemon()
    c = w.context("FROM busybox\nCOPY f /f\nRUN echo out; echo err >&2; printf end\n", f="content\n")
    s = stream(d, "-t", "status", c)
    s.result.ok()
    base, copy, run = "[1/3] FROM docker.io/library/busybox:latest", "[2/3] COPY f /f", "[3/3] RUN echo out; echo err >&2; printf end"
    equal(set(s.steps), {"[internal] load build definition from Dockerfile", "[internal] load .dockerignore", "[internal] load build context",
                         "[internal] load metadata for docker.io/library/busybox:latest", base, copy, run, "exporting to image"}, "steps")
    equal([s.inputs(x) for x in (base, copy, run)], [[], [base, "[internal] load build context"], [copy]], "inputs")
    for name, x in s.steps.items():
        check(x.get("started") and x.get("completed") and not x.get("error") and not x.get("cached"), (name, x))
        for r in x["rows"].values():
            check(r.get("started") and r.get("completed"), (name, r))
    rows = {re.sub("sha256:[0-9a-f]{64}", "SHA", i): r for i, r in s.steps[base]["rows"].items()}
    equal(set(rows), {"resolve docker.io/library/busybox:latest@SHA", "SHA", "extracting SHA"}, "rows of the base")
    check(rows["SHA"]["current"] == rows["SHA"]["total"] > 1000, rows)
    equal(s.steps["[internal] load build context"]["rows"]["transferring context:"]["name"], "transferring", "row of the context")
    equal(s.steps[run]["logs"], {1: b"out\nend", 2: b"err\n"}, "logs")
    again = stream(d, "-t", "status", c)
    for name in (copy, run):
        check(again.steps[name].get("cached"), (name, again.steps[name]))
    equal(again.steps[base]["digest"], s.steps[base]["digest"], "digest of the base")
    check(any(r.startswith("resolve ") for r in again.steps[base]["rows"]), again.steps[base])


def test_failures(w):
    """The step's own error at the step; where it came up before the build's."""
    d = w.shared()

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    s = stream(d, w.context(f"FROM scratch\nADD http://127.0.0.1:{web.server_address[1]}/f /f\n"))
    web.shutdown()
    web.server_close()
    s.result.fails("failed to solve: failed to load cache key: invalid response status 404")
    equal([x["error"] for x in s.steps.values() if x.get("error")], ["invalid response status 404"], "errors of the download")
    s = stream(d, w.context("FROM busybox\nCOPY nowhere /f\n"))
    s.result.fails('failed to solve: failed to compute cache key: failed to calculate checksum of ref ', '"/nowhere": not found')
    error = s.steps["[2/2] COPY nowhere /f"]["error"]
    check(error.startswith("failed to calculate checksum of ref ") and error.endswith(': "/nowhere": not found'), error)
    s = stream(d, w.context("FROM busybox\nRUN echo why >&2; exit 7\nRUN echo never\n"))
    failed, never = "[2/3] RUN echo why >&2; exit 7", "[3/3] RUN echo never"
    text = 'process "/bin/sh -c echo why >&2; exit 7" did not complete successfully: exit code: 7'
    s.result.fails("failed to solve: " + text)
    equal((s.steps[failed]["error"], s.steps[failed]["logs"][2]), (text, b"why\n"), "the failed step")
    check(not s.steps[never].get("started"), s.steps[never])


def test_groups_and_warnings(w):
    d = w.shared()
    s = stream(d, "-t", "linked", w.context("from busybox AS B\nCOPY --link f /f\n", f="1"))
    s.result.ok()
    copy, link = (s.steps["[2/2] " + x]["progressGroup"] for x in ("COPY --link f /f", "LINK COPY --link f /f"))
    check(copy["id"] == link["id"] and copy["name"] == link["name"] == "[2/2] COPY --link f /f", (copy, link))
    check(copy.get("weak") and not link.get("weak"), (copy, link))
    contains("\n".join(s.steps["[internal] load build definition from Dockerfile"]["warnings"]),
             "StageNameCasing: Stage name 'B' should be lowercase (line 1)")


def test_local_export(w):
    s = stream(w.shared(), "-o", f"type=local,dest={w.folder('out')}", w.context("FROM scratch\nCOPY f /f\n", f="x" * 300_000))
    s.result.ok()
    row = s.steps["exporting to client directory"]["rows"]["copying files"]
    check(300_000 <= row["current"] < 301_000, row)
