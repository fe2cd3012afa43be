# SPDX-License-Identifier: Apache-2.0
"""Features of the Dockerfile, one test each, as BuildKit has them."""
import json
import re

import harness
from harness import check, contains, equal, tar_of


def layers(d, tag):
    return json.loads(d.docker("inspect", tag).ok().out)[0]["RootFS"]["Layers"]


def steps(text):
    """Of a raw progress stream: steps by what stands behind their number -> whether they came from the cache."""
    all_of_them = [v for line in text.splitlines() if line.startswith("{") for v in json.loads(line).get("vertexes") or []]
    return {re.sub(r"^\[.*?\d+/\d+\] ", "", v["name"]): v.get("cached", False) for v in all_of_them}


def test_link_is_rebased(w):
    """The base changes: linked files keep their layer and are not copied again, what ran on the base runs again."""
    d = w.shared()
    base = harness.busybox_layer()

    def push(text):
        w.registry.push("library/moving", "latest",
                        harness.Image([base, tar_of([("base", "f", 0o644, 0, 0, text)])], {"Cmd": ["sh"], "Env": ["PATH=/bin"]}))

    c = w.context("FROM moving\nCOPY --link a /linked/a\nCOPY b /plain/b\nRUN cat /base > /ran\n", a="linked\n", b="plain\n")
    push(b"one\n")
    d.docker("build", "--pull", "-t", "rebased:1", c).ok()
    push(b"two\n")
    r = d.docker("build", "--pull", "--progress=rawjson", "-t", "rebased:2", c).ok()
    was = steps(r.err)
    check(was["COPY --link a /linked/a"], "the linked files are taken as they are:\n" + r.err)
    check(not was["COPY b /plain/b"] and not was["RUN cat /base > /ran"], "the rest is made again:\n" + r.err)
    one, two = layers(d, "rebased:1"), layers(d, "rebased:2")
    check(one[1] != two[1], "another base")
    equal(one[2], two[2], "the linked layer")
    equal(d.docker("run", "--rm", "rebased:2", "cat", "/linked/a", "/plain/b", "/ran").ok().out, "linked\nplain\ntwo\n", "files")


def test_link_keeps_nothing_of_the_base(w):
    """--link writes through no link of the base: its directories are its own."""
    d = w.shared()
    c = w.context("FROM busybox\nRUN ln -s /elsewhere /in && mkdir /elsewhere\nCOPY --link a /in/a\nCOPY --link --chown=7:8 --chmod=640 a /owned\n", a="A")
    d.docker("build", "-t", "linked", c).ok()
    equal(d.docker("run", "--rm", "linked", "sh", "-c", "test -d /in && ! test -L /in && ls /elsewhere; stat -c %u:%g:%a /owned").ok().out,
          "7:8:640\n", "files")


def test_parents(w):
    d = w.shared()
    c = w.context("FROM busybox\nCOPY --parents x/y/a x/z/*/b /all/\nCOPY --parents x/./y/a ./x/z/./q/b /pivot/\nCOPY --parents --exclude=**/b x/./** /less/\n"
                  "RUN cd / && find all pivot less -type f | sort > /list\n", **{"x/y/a": "1", "x/z/q/b": "2", "x/z/r/b": "3"})
    d.docker("build", "-t", "parents", c).ok()
    equal(d.docker("run", "--rm", "parents", "cat", "/list").ok().out.split(),
          ["all/x/y/a", "all/x/z/q/b", "all/x/z/r/b", "less/y/a", "pivot/q/b", "pivot/y/a"], "files")
    d.docker("build", w.context("FROM busybox\nCOPY --parents x/./none /\n", **{"x/a": ""})).fails("/x/none", "not found")


def test_symbolic_mode(w):
    d = w.shared()
    c = w.context("FROM busybox\nCOPY --chmod=u=rwX,go=rX d /d\nCOPY --chmod=a-w,u+x f /f\nCOPY --chmod=go-rwx,u+s f /s\n"
                  "COPY --chmod=g+t f /t\nCOPY --chmod=o+t f /n\nCOPY --chmod=g+s,u=rx,g=u,o=g-w f /g\nCOPY --chmod=+rt f /rt\n"
                  "RUN stat -c %a /d /d/plain /d/prog /f /s /t /n /g /rt > /m\n",
                  **{"d/plain": ("", 0o600), "d/prog": ("", 0o700), "f": ("", 0o664)})
    d.docker("build", "-t", "modes", c).ok()
    equal(d.docker("run", "--rm", "modes", "cat", "/m").ok().out.split(), ["755", "644", "755", "544", "4600", "1664", "664", "2555", "1664"], "modes")
    d.docker("build", w.context("FROM busybox\nCOPY --chmod=u+q f /\n", f="")).fails("invalid")


def test_copy_from_in_onbuild(w):
    d = w.shared()
    d.docker("build", "-t", "trigger", w.context(
        "FROM busybox AS base\nONBUILD COPY --from=tools /tool /tool\nONBUILD RUN --mount=from=tools,target=/m cp /m/tool /mounted\n")).ok()
    equal(json.loads(d.docker("inspect", "trigger").ok().out)[0]["Config"]["OnBuild"],
          ["COPY --from=tools /tool /tool", "RUN --mount=from=tools,target=/m cp /m/tool /mounted"], "triggers")
    d.docker("build", "-t", "triggered", w.context("FROM busybox AS tools\nRUN echo t > /tool\nFROM trigger\n")).ok()
    equal(d.docker("run", "--rm", "triggered", "cat", "/tool", "/mounted").ok().out, "t\nt\n", "files")


def test_insecure_step(w):
    """Only who allows it gets it, at the client and at the daemon."""
    text = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /insecure\nRUN grep CapEff /proc/self/status > /plain\n"
    d = w.daemon(name="buildkitd")
    c = w.context(text)
    command = ("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}")
    d.buildctl(*command).fails("security.insecure is not allowed")
    d.buildctl(*command, "--allow", "security.insecure").fails("security.insecure")
    e = w.daemon("--allow-insecure-entitlement", "security.insecure", name="buildkitd")
    e.buildctl(*command).fails("security.insecure is not allowed")
    out = w.folder("out")
    e.buildctl(*command, "--allow", "security.insecure", "--output", f"type=local,dest={out}").ok()
    have = {n: int((out / n).read_text().split()[1], 16) for n in ("insecure", "plain")}
    check(have["insecure"] & (1 << 21) and not have["plain"] & (1 << 21), f"CAP_SYS_ADMIN: {have}")


def test_secrets(w):
    d = w.shared()
    secret = w.folder("s") / "key"
    secret.write_text("from a file")
    c = w.context("FROM busybox\n"
                  "RUN --mount=type=secret,id=key,env=KEY echo \"$KEY\" > /env && test ! -e /run/secrets/key\n"
                  "RUN --mount=type=secret,id=key,env=KEY,target=/k,uid=3,gid=4,mode=0440 echo \"$KEY\" $(cat /k) $(stat -c %u:%g:%a /k) > /both\n"
                  "RUN --mount=type=secret,id=none,env=NONE --mount=type=secret,id=none echo \"[${NONE-unset}]\" > /optional && test ! -e /run/secrets/none\n")
    d.docker("build", "--secret", f"id=key,src={secret}", "-t", "secrets", c).ok()
    equal(d.docker("run", "--rm", "secrets", "cat", "/env", "/both", "/optional").ok().out,
          "from a file\nfrom a file from a file 3:4:440\n[]\n", "what steps saw")
    for mount in ("type=secret,id=none,required", "type=secret,id=none,env=X,required=true"):
        d.docker("build", w.context(f"FROM busybox\nRUN --mount={mount} true\n")).fails("secret none: not found")
    d.docker("build", w.context("FROM busybox\nRUN --mount=type=ssh,required true\n"), env={"SSH_AUTH_SOCK": ""}).fails("ssh")
    d.docker("build", w.context("FROM busybox\nRUN --mount=type=ssh test ! -S \"$SSH_AUTH_SOCK\"\n"), env={"SSH_AUTH_SOCK": ""}).ok()


def test_cache_mounts(w):
    d = w.daemon()
    c = w.context("FROM busybox AS seed\nRUN mkdir -p /seed/sub && echo s > /seed/sub/f && chmod 700 /seed/sub\nFROM busybox\nARG N\n"
                  "RUN --mount=type=cache,id=seeded,target=/c,from=seed,source=/seed/sub cat /c/f > /seeded; echo $N >> /c/f\n"
                  "RUN --mount=type=cache,id=owned,target=/o,uid=11,gid=12,mode=0711 stat -c %u:%g:%a /o > /owned && echo $N >> /o/f && cat /o/f > /kept\n"
                  "RUN --mount=type=cache,id=owned,target=/o,readonly ! touch /o/x 2>/dev/null\n"
                  "RUN --mount=type=cache,id=p,target=/p,sharing=private --mount=type=cache,id=l,target=/l,sharing=locked touch /p/a /l/b\n")
    for n, seeded, kept in ((1, "s\n", "1\n"), (2, "s\n1\n", "1\n2\n")):
        d.docker("build", "--build-arg", f"N={n}", "-t", "caches", c).ok()
        equal(d.docker("run", "--rm", "caches", "cat", "/seeded", "/owned", "/kept").ok().out, f"{seeded}11:12:711\n{kept}", f"build {n}")


def test_tmpfs(w):
    d = w.shared()
    c = w.context("FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m df -k /t | awk 'END{print $2}' > /size && ! dd if=/dev/zero of=/t/x bs=1024 count=2048 2>/dev/null\n")
    d.docker("build", "-t", "tmpfs", c).ok()
    equal(d.docker("run", "--rm", "tmpfs", "cat", "/size").ok().out, "1024\n", "size")


def test_source_date_epoch(w):
    d = w.shared()
    c = w.context("FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo ${SOURCE_DATE_EPOCH-unset} > /e\nWORKDIR /made\n")
    d.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "epoch", c).ok()
    equal(json.loads(d.docker("inspect", "epoch").ok().out)[0]["Created"], "2023-11-14T22:13:20Z", "created")
    equal(d.docker("run", "--rm", "epoch", "sh", "-c", "cat /e; stat -c %Y /made").ok().out, "1700000000\n1700000000\n", "files")
    d.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=soon", c).fails("invalid SOURCE_DATE_EPOCH: soon")


def test_buildkit_arguments(w):
    d = w.shared()
    c = w.context("FROM busybox\nARG BUILDKIT_INLINE_CACHE\nRUN true\n")
    r = d.docker("build", "--progress=plain", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-t", "multi", c).ok()
    contains(r.err, "[linux/amd64 ")
    a = w.context("FROM busybox\nRUN hostname > /h\n")
    d.docker("build", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box", "-t", "boxed", a).ok()
    equal(d.docker("run", "--rm", "boxed", "cat", "/h").ok().out, "box\n", "hostname")
    ns = w.context("FROM busybox\nARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/f && cat /c/f > /f\n")
    for name, n, want in (("one", 1, "1\n"), ("two", 2, "2\n"), ("one", 3, "1\n3\n")):
        d.docker("build", "--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={name}", "--build-arg", f"N={n}", "-t", "ns", ns).ok()
        equal(d.docker("run", "--rm", "ns", "cat", "/f").ok().out, want, f"caches of {name}")


def test_syntax_comments(w):
    """Files that are JSON or whose comments are // name their frontend, too."""
    d = w.shared()
    for text in ('{"syntax": "registry.invalid/front:1", "x": 1}\n', "// syntax=registry.invalid/front:1\nFROM scratch\n", "#!/usr/bin/x\n# syntax=registry.invalid/front:1\n",
                 "#syntax=registry.invalid/front:1\nFROM scratch\n", "# escape=`\n# SYNTAX = registry.invalid/front:1\nFROM scratch\n"):
        d.docker("build", w.context(text)).fails("registry.invalid/front:1")
    d.docker("build", w.context("# comment\n# syntax=registry.invalid/front:1\nFROM scratch\nCOPY a /\n", a="")).ok()
    d.docker("build", w.context("FROM scratch\n# syntax=registry.invalid/front:1\nCOPY a /\n", a="")).ok()


def test_frontend_that_cannot_be_had(w):
    """An image named by # syntax= is resolved with the words that a base image is resolved with."""
    d, host = w.shared(), w.registry.host
    for ref, why in ((f"{host}/none/front", f"{host}/none/front:latest: not found"), ("127.0.0.1:1/front", "failed to do request: Head")):
        r = d.docker("build", w.context(f"# syntax={ref}\nFROM scratch\n"))
        r.fails(f"failed to solve: failed to resolve source metadata for {ref}:latest: {why}")
    c = w.context(None, **{"d/x": ""})
    d.docker("build", "-f", c / "d", c).fails("failed to solve: failed to read dockerfile: ", "not a regular file")
