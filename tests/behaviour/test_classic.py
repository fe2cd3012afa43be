# SPDX-License-Identifier: Apache-2.0
"""The classic builder: POST /build, version 1, with docker-py, Debian's docker CLI 20.10, the CLI on PATH, and plain HTTP."""
import json
import re

from harness import check, contains, equal, tar_of


def build(d, entries, query="", headers=None):
    """-> (status, messages)"""
    if isinstance(entries, dict):
        entries = tar_of([(n, "f", 0o644, 1000, 1000, v.encode() if isinstance(v, str) else v) for n, v in entries.items()])
    status, _, data = d.http("POST", "/v1.43/build?" + query, entries, {"Content-Type": "application/x-tar", **(headers or {})})
    if status != 200:
        return status, json.loads(data)
    lines = data.split(b"\r\n")
    equal(lines[-1], b"", "the last line's end")
    return status, [json.loads(x) for x in lines[:-1]]


def test_probe(w):
    d = w.shared()
    s, m = build(d, {"Dockerfile": "FROM busybox\nRUN echo hi; echo err >&2\nCOPY f /f\nCMD [\"x\"]\nWORKDIR /w\n", "f": "content"}, "t=probe")
    for x in m:
        print(x)
    s, m = build(d, {"Dockerfile": "FROM busybox\nRUN echo hi; echo err >&2\nCOPY f /f\nCMD [\"x\"]\nWORKDIR /w\n", "f": "content"}, "t=probe")
    for x in m:
        print(x)
    s, m = build(d, {"Dockerfile": "FROM busybox\nRUN exit 3\n"})
    for x in m:
        print(x)
    check(False, "x")
