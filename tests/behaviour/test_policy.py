# SPDX-License-Identifier: Apache-2.0
"""Source policies: rules of a request, and Rego policies that buildx evaluates in the client's process."""
import hashlib
import json

from harness import equal, own
from test_remote import serve

BUSYBOX = "docker-image://docker.io/library/busybox:latest"


def rules(w, *all_rules):
    f = w.folder("policy") / "p.json"
    f.write_text(json.dumps({"version": 1, "rules": list(all_rules)}))
    return f


def rule(action, selector, match="WILDCARD", constraints=(), **updates):
    r = {"action": action, "selector": {"identifier": selector, "match_type": match, "constraints": list(constraints)}}
    if updates:
        r["updates"] = updates
    return r


def build(w, d, dockerfile, policy, *args, **files):
    out = w.folder("out")
    r = d.docker("build", "-o", f"type=local,dest={out}", *args, w.context(dockerfile, **files),
                 env={"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": str(policy)})
    return r, out


def test_policy_rules(w):
    d = w.shared()
    files = w.folder("files")
    (files / "a").write_text("a\n")
    (files / "b").write_text("b\n")
    server, url = serve(files)
    image, add = "FROM busybox\nCOPY Dockerfile /\n", f"FROM scratch\nADD {url}/a /\n"
    try:
        for text, denied, policy in (
                (image, BUSYBOX, [rule("DENY", "docker-image://*")]),
                (image, None, [rule("DENY", "*"), rule("ALLOW", BUSYBOX + "*"), rule("ALLOW", "local://*")]),
                (image, BUSYBOX, [rule("DENY", r"^docker-image://.*/(busybox|alpine):", "REGEX")]),
                (image, None, [rule("DENY", "docker-image://*", constraints=[{"key": "x", "value": "y", "condition": "EQUAL"}])]),
                (add, f"{url}/a", [rule("DENY", f"{url}/*")]),
                (add, f"{url}/a", [rule("DENY", f"{url}/a", constraints=[
                    {"key": "http.checksum", "value": "^sha256:", "condition": "MATCHES"}]),
                                   rule("DENY", f"{url}/a", constraints=[{"key": "http.checksum", "value": "x", "condition": "NOTEQUAL"}])])):
            r, _ = build(w, d, text, rules(w, *policy))
            if denied:
                r.fails(f'source "{denied}" denied by policy: source denied by policy')
            else:
                r.ok()
        r, out = build(w, d, add, rules(w, rule("CONVERT", f"{url}/*", identifier=f"{url}/b")))
        r.ok()
        equal((out / "a").read_text(), "b\n", "converted download")
        r, _ = build(w, d, add, rules(w, rule("CONVERT", f"{url}/a", attrs={"http.checksum": "sha256:" + "0" * 64})))
        r.fails("digest mismatch")
        good = hashlib.sha256(b"a\n").hexdigest()
        r, out = build(w, d, add, rules(w, rule("CONVERT", f"{url}/a", attrs={"http.checksum": f"sha256:{good}"})))
        equal((r.ok(), (out / "a").read_text())[1], "a\n", "pinned download")
        r, out = build(w, d, "FROM nothing/here:9\nCOPY --from=none/such /app/data /got\n", rules(
            w, rule("CONVERT", "docker-image://docker.io/nothing/*:*", identifier=BUSYBOX),
            rule("CONVERT", "docker-image://docker.io/(none)/(such):(.*)", "REGEX", identifier="docker-image://docker.io/library/rich:${3}")))
        r.ok()
        equal((out / "got").read_text(), "data\n", "converted images")
        r, _ = build(w, d, image, rules(w, rule("CONVERT", BUSYBOX, identifier="docker-image://docker.io/library/rich:latest"),
                                        rule("CONVERT", "docker-image://docker.io/library/rich:latest", identifier=BUSYBOX)))
        r.fails("too many mutations on a single source: too many operations")
        r, _ = build(w, d, image, rules(w, rule("DENY", "(", "REGEX")))
        r.fails("error matching source policy: error parsing regexp")
        # a named image that a policy turns into a download
        r, out = build(w, d, "FROM scratch\nCOPY --from=src /context /got\n",
                       rules(w, rule("CONVERT", "docker-image://docker.io/none/such:latest", identifier=f"{url}/b")),
                       "--build-context", "src=docker-image://none/such")
        r.ok()
        equal((out / "got").read_text(), "b\n", "named image as a download")
    finally:
        server.shutdown()
        server.server_close()


def test_policy_buildctl(w):
    for face in ("dockerd", "buildkitd"):
        d = w.face(face)
        c = w.context("FROM busybox\nCOPY Dockerfile /\n")
        args = ["build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}"]
        d.buildctl(*args, "--source-policy-file", rules(w, rule("ALLOW", "*"))).ok()
        d.buildctl(*args, "--source-policy-file", rules(w, rule("DENY", "docker-image://*"))).fails(
            f'source "{BUSYBOX}" denied by policy')


def test_policy_rego(w):
    """buildx evaluates Dockerfile.rego in the client: our daemon asks, is asked back, and obeys."""
    d = w.shared()
    files = w.folder("files")
    (files / "a").write_text("a\n")
    server, url = serve(files)
    head = "package docker\nimport rego.v1\ndefault allow := false\nallow if input.local\n"
    good = hashlib.sha256(b"a\n").hexdigest()
    try:
        for text, policy, want in (
                ("FROM busybox\nCOPY Dockerfile /\n", "allow if input.image\n", None),
                ("FROM busybox\nCOPY Dockerfile /\n", 'deny_msg contains "no images here" if input.image\n', "no images here"),
                ("FROM busybox\nCOPY Dockerfile /\n", 'allow if input.image.os == "linux"\n', None),
                ("FROM busybox\nCOPY Dockerfile /\n", 'allow if input.image.os == "plan9"\n', "not allowed by policy"),
                (f"FROM scratch\nADD {url}/a /\n", f'allow if input.http.checksum == "sha256:{good}"\n', None),
                (f"FROM scratch\nADD {url}/a /\n", f'allow if input.http.checksum == "sha256:{"0" * 64}"\n', "not allowed by policy"),
                (f"FROM scratch\nADD {url}/a /\n", "", "not allowed by policy")):
            text_policy = head + policy + "decision := {\"allow\": allow, \"deny_msg\": deny_msg}\n" if "deny_msg" in policy else \
                head + policy + "decision := {\"allow\": allow}\n"
            out = w.folder("out")
            r = d.docker("buildx", "build", "--policy", "strict=true", "-o", f"type=local,dest={out}",
                         w.context(text, **{"Dockerfile.rego": text_policy}))
            if want is None:
                r.ok()
            else:
                r.fails(want)
    finally:
        server.shutdown()
        server.server_close()


@own
def test_policy_of_the_configuration(w):
    """It holds for every build, whatever the build's own rules allow; a file that is not understood stops the start."""
    f = rules(w, rule("DENY", "docker-image://docker.io/library/alpine*"), rule("DENY", "http://127.0.0.1:1/*"))
    config = w.folder("config")
    (config / "daemon.json").write_text(json.dumps({"builder": {"sourcePolicy": str(f)}}))
    (config / "buildkitd.toml").write_text(f'sourcePolicy = "{f}"\n')
    for face, d in (("dockerd", w.daemon("--config-file", config / "daemon.json")),
                    ("buildkitd", w.daemon("--config", config / "buildkitd.toml", name="buildkitd"))):
        for image in ("alpine", "scratch"):
            c = w.context(f"FROM {image}\nCOPY Dockerfile /\n")
            r = d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}",
                           "--source-policy-file", rules(w, rule("ALLOW", "*")))
            if image == "alpine":
                r.fails("docker.io/library/alpine:latest\" denied by policy")
            else:
                r.ok()
        if face == "dockerd":
            for text in ("FROM alpine\n", "FROM scratch\nADD http://127.0.0.1:1/x /\n"):
                r = d.docker20("build", w.context(text), env={"DOCKER_BUILDKIT": "0"})
                r.fails("denied by policy")
