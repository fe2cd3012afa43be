# SPDX-License-Identifier: Apache-2.0
"""What each LLB op makes of odd requests: every kind of action, mount, option and wrong index, compared line by line.

expected.txt is what BuildKit answers as well; expected-own.txt is where our answer is another one: texts that name no path of the
daemon's, definitions refused before anything runs, deletions that do not look at the host.
"""
import subprocess

import harness
from harness import Failure, equal, own, run, weight


def blocks(text):
    """name -> the lines below it"""
    found, name = {}, None
    for line in text.splitlines():
        if line.startswith("  "):
            found[name].append(line)
        else:
            name = line
            found[name] = []
    return found


def answers(w):
    if not hasattr(w, "ops_answers"):
        d = w.daemon("--allow-insecure-entitlement", "security.insecure", name="buildkitd")
        r = run([harness.go_program(w.clients, harness.HERE / "ops"), "-socket", d.socket]).ok()
        d.alive()
        w.ops_answers = blocks(r.out)
    return w.ops_answers


def compare(w, name):
    have, wrong = answers(w), []
    for case, want in blocks((harness.HERE / "ops" / name).read_text()).items():
        got = have.get(case)
        if got != want:
            wrong.append(f"{case}:\n" + "\n".join(["  have", *(got or ["  nothing"]), "  want", *want]))
    if wrong:
        raise Failure(f"{len(wrong)} cases:\n" + "\n".join(wrong[:20]))


@weight(5)
def test_ops(w):
    compare(w, "expected.txt")


@own
def test_ops_own(w):
    compare(w, "expected-own.txt")


def test_difference_from_a_cache(w):
    """A difference that another daemon made is copied from here: what it deletes, in places that it does not have, is not seen."""
    program = harness.go_program(w.clients, harness.HERE / "ops")
    cache, out = w.folder("cache"), w.folder("out")

    def build(*args, case):
        text = subprocess.run([program, "-definition", case], check=True, capture_output=True).stdout
        d = w.daemon(name="buildkitd")
        return d.buildctl("build", *args, stdin=text).ok()

    build("--export-cache", f"type=local,dest={cache},mode=max", case="diff plain")
    r = build("--import-cache", f"type=local,src={cache}", "--output", f"type=local,dest={out}", case="diff copy of")
    harness.check("CACHED" in r.err, r.err)
    equal(sorted(f.relative_to(out).as_posix() for f in out.rglob("*")),
          ["n", "n/dir", "n/dir/g", "n/hard2", "n/kind", "n/opaque", "n/opaque/new", "n/sym"], "files")
