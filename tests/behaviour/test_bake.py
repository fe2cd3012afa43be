# SPDX-License-Identifier: Apache-2.0
"""buildx bake: matrix, linked targets, overrides, compose files with x-bake."""
import json

from harness import check, contains, equal

HCL = """
variable "WHO" { default = "world" }
group "default" { targets = ["item", "app"] }
target "item" {
  name = "item-${n}-${mode}"
  matrix = { n = ["one", "two"], mode = ["a", "b"] }
  args = { N = n, MODE = mode, WHO = WHO }
  tags = ["bake/item:${n}-${mode}"]
}
target "base" { dockerfile-inline = "FROM busybox\\nRUN echo from the base > /base\\n" }
target "app" {
  contexts = { below = "target:base" }
  dockerfile-inline = "FROM below\\nRUN cat /base > /seen\\n"
  tags = ["bake/app"]
  labels = { bake = "yes" }
  output = ["type=docker"]
}
"""
TEXT = "FROM busybox\nARG N MODE WHO\nRUN echo $N $MODE $WHO > /said\n"
COMPOSE = """
services:
  web:
    image: bake/web
    build:
      context: .
      target: said
      args: { N: web, MODE: compose, WHO: "${WHO:-nobody}" }
      x-bake:
        tags: [ "bake/web:x" ]
        labels: { from: compose }
  side:
    image: bake/side
    build: { context: ., target: other, additional_contexts: { below: "service:web" } }
"""
STAGES = TEXT.replace("busybox", "busybox AS said") + "FROM below AS other\nRUN cp /said /copied\n"


def said(d, image, path="/said"):
    return d.docker("run", "--rm", image, "cat", path).ok().out


def test_matrix_and_links(w):
    d = w.daemon()
    c = w.context(TEXT, **{"docker-bake.hcl": HCL})
    plan = json.loads(d.docker("buildx", "bake", "--print", cwd=c).ok().out)["target"]
    equal(sorted(plan), ["app", "base", "item-one-a", "item-one-b", "item-two-a", "item-two-b"], "planned targets")
    d.docker("buildx", "bake", "--set", "item-two-b.args.N=set", "--set", "*.labels.all=true", cwd=c, env={"WHO": "you"}).ok()
    for n, mode in (("one", "a"), ("one", "b"), ("two", "a")):
        equal(said(d, f"bake/item:{n}-{mode}"), f"{n} {mode} you\n", "what a target of the matrix made")
    equal(said(d, "bake/item:two-b"), "set b you\n", "an argument that was set")
    equal(said(d, "bake/app", "/seen"), "from the base\n", "what the linked target read")
    labels = d.json("GET", "/images/bake/app/json")["Config"]["Labels"]
    equal(labels, {"bake": "yes", "all": "true"}, "labels")
    check("bake/base" not in d.docker("images", "--format", "{{.Repository}}").ok().out, "a target that has no tag was named")


def test_compose_file(w):
    d = w.daemon()
    c = w.context(STAGES, **{"compose.yaml": COMPOSE})
    meta = w.folder("m") / "meta.json"
    d.docker("buildx", "bake", "--metadata-file", meta, cwd=c, env={"WHO": "me"}).ok()
    equal(said(d, "bake/web:x"), "web compose me\n", "tag of x-bake")
    equal(said(d, "bake/side", "/copied"), "web compose me\n", "what a service made of another")
    m = json.loads(meta.read_text())
    equal(m["side"]["containerimage.digest"], d.json("GET", "/images/bake/side/json")["Id"], "digest of the metadata")


def test_failure_names_the_target(w):
    d = w.shared()
    c = w.context("FROM busybox\nARG N\nRUN test $N = good\n", **{"docker-bake.hcl": """
group "default" { targets = ["fine", "broken"] }
target "fine" { args = { N = "good" } }
target "broken" { args = { N = "bad" } }
"""})
    r = d.docker("buildx", "bake", "--progress=plain", cwd=c)
    r.fails("target broken: failed to solve: process", "exit code: 1")
    contains(r.err, "[broken 2/2] RUN test bad = good")
    equal([x for x in r.err.splitlines() if x.startswith("ERROR: ")],
          ['ERROR: target broken: failed to solve: process "/bin/sh -c test $N = good" did not complete successfully: exit code: 1'], "error")
    checked = w.context("from busybox AS B\n", **{"docker-bake.hcl": 'target "default" {}'})
    d.docker("buildx", "bake", "--check", cwd=checked).fails("StageNameCasing", "Check complete, 2 warnings have been found!")
