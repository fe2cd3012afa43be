# SPDX-License-Identifier: Apache-2.0
"""What is wrong is told in dockerd's words, with its status: tools read them. The real one passes these tests too."""
import json

from harness import contains, equal

NO_MATCH = "no match for platform in manifest: not found"


def refused(d, args, text):
    r = d.docker(*args)
    equal(r.code != 0, True, f"{args}")
    contains(r.err, text, " ".join(args))


def test_pull(w):
    d, h = w.shared(), w.registry.host
    none = f"{h}/library/busybox@sha256:{'0' * 64}"
    for args, text in (
            ((f"{h}/nosuch",), f'Error response from daemon: failed to resolve reference "{h}/nosuch:latest": {h}/nosuch:latest: not found'),
            ((f"{h}/library/busybox:nosuch",), f'failed to resolve reference "{h}/library/busybox:nosuch": {h}/library/busybox:nosuch: not found'),
            ((none,), f'failed to resolve reference "{none}": {none}: not found'),
            (("busybox:no_such",), 'failed to resolve reference "docker.io/library/busybox:no_such": docker.io/library/busybox:no_such: not found'),
            (("127.0.0.1:1/x",), 'failed to resolve reference "127.0.0.1:1/x:latest": failed to do request: Head "http'),
            (("127.0.0.1:1/x",), "dial tcp 127.0.0.1:1: connect: connection refused"),
            (("--platform", "linux/s390x", f"{h}/library/busybox"), f"no matching manifest for linux/s390x in the manifest list entries: {NO_MATCH}")):
        refused(d, ("pull", *args), text)
    refused(d, ("run", "--rm", f"{h}/nosuch", "true"), f'docker: Error response from daemon: failed to resolve reference "{h}/nosuch:latest"')
    status, _, body = d.http("POST", f"/images/create?fromImage={h}/nosuch&tag=latest")
    equal(status, 404, "status before anything was said")
    contains(json.loads(body)["message"], "failed to resolve reference")


def test_containers(w):
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    for args, text in (
            (("--runtime", "nosuch"), "unknown or invalid runtime name: nosuch"),
            (("--cpus", "10000"), "range of CPUs is from 0.01 to "),
            (("-w", "relative"), "the working directory 'relative' is invalid, it needs to be an absolute path"),
            (("--mount", "type=bind,source=/no/such/dir,target=/x"), "bind source path does not exist: /no/such/dir"),
            (("--stop-signal", "NOPE"), "invalid signal: NOPE")):
        refused(d, ("run", "--rm", *args, "busybox", "true"), text)
    r = d.docker("run", "--rm", "-u", "nosuchuser", "busybox", "true").fails("unable to find user nosuchuser: no matching entries in passwd file")
    equal("Error waiting" in r.err, False, "said once")
    refused(d, ("ps", "--filter", "health=nope"), "invalid filter 'health=nope': invalid value for health (nope): must be one of none, starting, healthy, unhealthy")
    refused(d, ("ps", "--filter", "status=nope"), "invalid filter 'status=nope'")
    refused(d, ("images", "--filter", "dangling=nope"), "invalid filter 'dangling=[nope]'")


def test_requests(w):
    d = w.shared()
    for method, path, body, status, text in (
            ("GET", "/v9.9/info", b"", 400, "client version 9.9 is too new. Maximum supported API version is 1.56"),
            ("GET", "/images/json?filters=bad", b"", 400, "invalid filter"),
            ("GET", "/containers/json?filters=bad", b"", 400, "invalid filter"),
            ("GET", "/events?filters=bad", b"", 400, "invalid filter"),
            ("POST", "/containers/create", b"{", 400, "invalid JSON: unexpected EOF"),
            ("POST", "/containers/create", b"{}", 400, "config cannot be empty in order to create a container"),
            ("POST", "/images/busybox/tag?repo=UP&tag=x", b"", 400, "invalid reference format"),
            ("DELETE", "/images/nosuch", b"", 404, "No such image: nosuch:latest"),
            ("GET", "/containers/nosuch/json", b"", 404, "No such container: nosuch")):
        have, _, answer = d.http(method, path, body, {"Content-Type": "application/json"})
        equal(have, status, f"{method} {path}: {answer[:300]!r}")
        contains(json.loads(answer)["message"], text, f"{method} {path}")


def test_several_platforms_and_one_error(w):
    """The platforms are converted side by side: whichever fails first, the file's error is told, not that the others were cancelled."""
    d = w.face("buildkitd")
    c = w.context("FROM scratch\nCOPY a /a\nBADCMD x\n", a="a")
    for _ in range(12):
        d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--opt",
                   "platform=linux/amd64,linux/arm64").fails("dockerfile parse error on line 3: unknown instruction: BADCMD")
