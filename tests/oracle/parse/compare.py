#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare minke's Dockerfile text half with BuildKit's.

usage: compare.py ORACLE DUMP [--seed N] [--rounds N] [FILE...]

ORACLE is the program built from main.go, DUMP the one from dump.c.  Cases are the corpus below, the files named (a
Dockerfile each), and mutations of them all.  Prints every difference; exits 1 when there is one.
"""
import argparse, os, random, re, subprocess, sys, tempfile

import corpus


def frame(case):
    op, fields = case
    out = [f"{op} {len(fields)}\n".encode()]
    for f in fields:
        out.append(str(len(f)).encode() + b"\n" + f)
    return b"".join(out)


def run(program, cases):
    with tempfile.TemporaryFile() as f:
        for c in cases:
            f.write(frame(c))
        f.seek(0)
        r = subprocess.run([program], stdin=f, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode != 0:
        sys.stderr.write(r.stderr.decode(errors="replace")[-4000:])
    return r.returncode, r.stdout.split(b"--\n")[:-1]


SUGGESTION = re.compile(rb" \(did you mean [^)]*\?\)")


def same(a, b):
    if a == b:
        return True
    if not a.isascii() and a.decode(errors="replace").lower() == b.decode(errors="replace").lower():
        return True  # case beyond ASCII
    # Of options equally near, Go picks one at random.
    return b"did you mean" in a and SUGGESTION.sub(b"", a) == SUGGESTION.sub(b"", b) and b"did you mean" in b


def mutate(rng, text, pool):
    for _ in range(rng.randint(1, 4)):
        i = rng.randint(0, len(text))
        j = min(len(text), i + rng.randint(0, 8))
        k = rng.random()
        if k < 0.35:
            text = text[:i] + rng.choice(corpus.TOKENS) + text[i:]
        elif k < 0.55:
            text = text[:i] + text[j:]
        elif k < 0.75:
            text = text[:i] + rng.choice(corpus.TOKENS) + text[j:]
        elif k < 0.9:
            other = rng.choice(pool)
            a = rng.randint(0, len(other))
            text = text[:i] + other[a:a + rng.randint(0, 40)] + text[j:]
        else:
            text = text[:i] + bytes([rng.randint(1, 255)]) + text[i:]
    return text.replace(b"\0", b"")


def unstable(op, text):
    """Known differences: NUL in JSON arguments, Unicode classes in patterns, capitals beyond ASCII in stage names."""
    return b"u0000" in text or (op == "ignore" and (b"\\p" in text or b"\\P" in text))


def cases_of(rng, rounds, files):
    docs = corpus.DOCKERFILES + files
    words = corpus.WORDS
    ignores = corpus.IGNORES
    cases = [("parse", [d]) for d in docs] + [("syntax", [d]) for d in docs + corpus.SYNTAX]
    cases += [("lint", [t]) for t in corpus.LINT]
    for w in words:
        for flags in (b"", b"q", b"e", b"qe", b"s", b"u", b"qeu"):
            for esc in (b"\\", b"`"):
                cases.append(("words", [esc, flags, w] + corpus.ENV))
    for t in ignores:
        cases.append(("ignore", [t] + corpus.PATHS))
    for _ in range(rounds):
        cases.append(("parse", [mutate(rng, rng.choice(docs), docs)]))
        cases.append(("words", [rng.choice((b"\\", b"`")), rng.choice((b"", b"q", b"qeu", b"e", b"s")),
                                mutate(rng, rng.choice(words), words)] + corpus.ENV))
        t = mutate(rng, rng.choice(ignores), ignores)
        cases.append(("ignore", [t] + [mutate(rng, p, corpus.PATHS) if rng.random() < 0.3 else p for p in corpus.PATHS]))
        if rng.random() < 0.2:
            cases.append(("syntax", [mutate(rng, rng.choice(corpus.SYNTAX), corpus.SYNTAX)]))
            cases.append(("lint", [mutate(rng, rng.choice(corpus.LINT), corpus.LINT)]))
    return [c for c in cases if not any(unstable(c[0], f) for f in c[1])]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("oracle")
    ap.add_argument("dump")
    ap.add_argument("files", nargs="*")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--rounds", type=int, default=2000)
    ap.add_argument("--show", type=int, default=20)
    a = ap.parse_intermixed_args()
    files = []
    for f in a.files:
        with open(f, "rb") as h:
            files.append(h.read().replace(b"\0", b""))
    cases = cases_of(random.Random(a.seed), a.rounds, files)
    (rc1, want), (rc2, got) = run(a.oracle, cases), run(a.dump, cases)
    bad = 0
    for i, c in enumerate(cases):
        w = want[i] if i < len(want) else b"(nothing)"
        g = got[i] if i < len(got) else b"(nothing)"
        if same(w, g):
            continue
        bad += 1
        if bad <= a.show:
            print(f"=== {c[0]}")
            for f in c[1][: 4 if c[0] == "words" else 1]:
                print("   ", f)
            wl, gl = w.split(b"\n"), g.split(b"\n")
            for x, y in zip(wl + [b""] * len(gl), gl + [b""] * len(wl)):
                if x != y:
                    print("  want", x.decode(errors="replace"))
                    print("  got ", y.decode(errors="replace"))
                    break
    print(f"{len(cases) - bad} passed, {bad} failed")
    sys.exit(1 if bad or rc1 or rc2 else 0)


main()
