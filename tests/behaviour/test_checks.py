# SPDX-License-Identifier: Apache-2.0
"""What buildx asks about a Dockerfile without building it, and what it makes of the answers."""
import json

from harness import check, contains, equal

BAD = "from busybox AS Base\nMAINTAINER me\nENV a b\nFROM base\nCOPY $NAME /\nCMD echo\n"
RULES = ["ConsistentInstructionCasing", "StageNameCasing", "FromAsCasing", "MaintainerDeprecated", "LegacyKeyValueFormat", "UndefinedVar",
         "JSONArgsRecommended"]


def rules(text):
    return sorted({x["ruleName"] for x in json.loads(text)["warnings"] or []})


def test_check(w):
    d = w.shared()
    before = d.docker("images", "-q").ok().out
    r = d.docker("build", "--check", w.context(BAD))
    equal(r.code, 1, "exit code with warnings")
    for rule in RULES:
        contains(r.out + r.err, f"WARNING: {rule} - https://docs.docker.com/go/dockerfile/rule/")
    contains(r.out, "Dockerfile:2\n--------------------\n")
    contains(r.out, " 2 | >>> MAINTAINER me\n")
    contains(r.out, "Stage name 'Base' should be lowercase")
    r = d.docker("build", "--check", w.context("FROM busybox\nRUN true\n"))
    equal(r.code, 0, "exit code without warnings")
    contains(r.out, "Check complete, no warnings found.")
    equal(d.docker("images", "-q").ok().out, before, "nothing was built")


def test_check_json(w):
    d = w.shared()
    r = d.docker("build", "--call=lint,format=json", w.context(BAD))
    equal(rules(r.out), sorted(RULES), "rules")
    warning = next(x for x in json.loads(r.out)["warnings"] if x["ruleName"] == "MaintainerDeprecated")
    equal(warning["location"]["ranges"], [{"start": {"line": 2}, "end": {"line": 2}}], "where")
    contains(warning["url"], "/maintainer-deprecated/", "url")
    equal(r.code, 1, "exit code")


def test_check_directive(w):
    d = w.shared()
    legacy = "FROM busybox\nENV a b\n"
    equal(d.docker("build", "--check", w.context("# check=skip=LegacyKeyValueFormat\n" + legacy)).code, 0, "skipped")
    equal(d.docker("build", "--check", w.context("# check=skip=all\n" + BAD)).code, 0, "all skipped")
    equal(d.docker("build", "--check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", w.context(BAD)).code, 0, "skipped by argument")
    described = "# not its name\nFROM busybox AS base\n"
    equal(d.docker("build", "--check", w.context(described)).code, 0, "an experimental rule is not asked")
    r = d.docker("build", "--check", w.context("# check=experimental=all\n" + described))
    contains(r.out, "InvalidDefinitionDescription")
    equal(r.code, 1, "an experimental rule that is asked")


def test_check_error(w):
    """error=true fails a build, and only what is looked at counts."""
    d = w.shared()
    c = w.context("# check=error=true\nFROM busybox\nENV a b\n")
    d.docker("build", c).fails("lint violation found for rules: LegacyKeyValueFormat")
    r = d.docker("build", "--check", c)
    equal(r.code, 1, "exit code of the check")
    contains(r.out + r.err, "lint violation found for rules: LegacyKeyValueFormat")
    d.docker("build", w.context("# check=skip=LegacyKeyValueFormat;error=true\nFROM busybox\nENV a b\n")).ok()
    r = d.docker("build", "--check", w.context("FROM busybox\nENV a b\nRUN --mount=type=bid true\n"))
    check(r.code != 0, "a file that does not convert")
    contains(r.out + r.err, "unsupported mount type")
    contains(r.out, "LegacyKeyValueFormat")


def test_warnings_of_a_build(w):
    d = w.shared()
    r = d.docker("build", "--progress=plain", w.context("FROM busybox\nENV a b\n")).ok()
    contains(r.err, "1 warning found (use docker --debug to expand):")
    contains(r.err, ' - LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 2)')


STAGES = """# syntax=docker/dockerfile:1
# VERSION of what is built
ARG VERSION=1.2
ARG UNUSED
# build makes it
FROM busybox AS build
ARG VERSION
RUN --mount=type=secret,id=key,required --mount=type=ssh --mount=type=cache,target=/cache true
# out is the result
FROM scratch AS out
COPY --from=build / /
"""


def test_outline(w):
    d = w.shared()
    c = w.context(STAGES)
    o = json.loads(d.docker("build", "--call=outline,format=json", c).ok().out)
    equal((o["name"], o["description"]), ("out", "is the result"), "target")
    equal(o["args"], [{"name": "VERSION", "description": "of what is built", "value": "1.2", "location": o["args"][0]["location"]}], "arguments")
    equal([(s["name"], s.get("required", False)) for s in o["secrets"]], [("key", True)], "secrets")
    equal([s["name"] for s in o["ssh"]], ["default"], "ssh")
    r = d.docker("build", "--call=outline", "--build-arg", "VERSION=9", c).ok()
    contains(r.out, "TARGET:")
    contains(r.out, "VERSION")
    contains(r.out, "9")
    d.docker("build", "--call=outline", "--target=none", c).fails('target stage "none" could not be found')


def test_targets(w):
    d = w.shared()
    c = w.context(STAGES)
    t = json.loads(d.docker("build", "--call=targets,format=json", c).ok().out)["targets"]
    equal([(x["name"], x.get("default", False), x["description"], x["base"]) for x in t],
          [("build", False, "makes it", "busybox"), ("out", True, "is the result", "scratch")], "targets")
    contains(d.docker("build", "--call=targets", c).ok().out, "out (default)")


def test_describe(w):
    d = w.shared()
    j = json.loads(d.docker("build", "--call=subrequests.describe,format=json", w.context("FROM scratch\n")).ok().out)
    names = {x["name"] for x in j}
    check({"frontend.outline", "frontend.targets", "frontend.subrequests.describe"} <= names, names)
    contains(d.docker("build", "--call=subrequests.describe", w.context("FROM scratch\n")).ok().out, "subrequests.describe")
    d.docker("build", "--call=nothing", w.context("FROM scratch\n")).fails("nothing")


def test_near_names(w):
    """What is unknown names what is near it, with the place."""
    d = w.shared()
    for text, *parts in (
        ("FROM busybox\nCOPY --form=x a b\n", "unknown flag: --form (did you mean from?)", "Dockerfile:2"),
        ("FROM busybox\nRUN --mout=x true\n", "unknown flag: --mout (did you mean mount?)", ">>> RUN --mout=x true"),
        ("FROM busybox\nADD --chekcsum=x a b\n", "unknown flag: --chekcsum (did you mean checksum?)"),
        ("FROM --platfrm=x busybox\n", "unknown flag: --platfrm (did you mean platform?)", "Dockerfile:1"),
        ("FROM busybox\nHEALTHCHECK --intervl=1s CMD x\n", "unknown flag: --intervl (did you mean interval?)"),
        ("FROM busybox\nRUN --mount=type=secrt true\n", 'unsupported mount type "secrt" (did you mean secret?)'),
        ("FROM busybox\nENTRYPONT x\n", "unknown instruction: ENTRYPONT (did you mean ENTRYPOINT?)"),
        ("FROM busybox AS bild\nFROM scratch\nCOPY --from=bilt /x /\n", "(did you mean bild?)"),
        ("FROM busybox\nRUN --unlike=x true\n", "unknown flag: --unlike", "Dockerfile:2"),
    ):
        d.docker("build", w.context(text, a="")).fails(*parts)
    check("did you mean" not in d.docker("build", w.context("FROM busybox\nRUN --unlike=x true\n")).err, "nothing is near")
