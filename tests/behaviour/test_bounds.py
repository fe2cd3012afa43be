# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles that are made to cost much end with an error, and leave the daemon small."""
import re

from harness import equal, own, weight

F = "FROM busybox\n"

HOSTILE = {
    "larger than a Dockerfile may be": (F + "#" * 99 + "\n" * (17 << 20), "exceeds maximum allowed size"),
    "a line of 10 MB": (F + "RUN " + "x" * (10 << 20) + "\n", "dockerfile line greater than max allowed size"),
    "a million instructions": (F + "ENV a=b\n" * 1000000, "at most 30000 are allowed"),
    "a hundred thousand stages": (F * 100000, "are allowed"),
    "stages over the bound": (F * 5000, "at most 4000 are allowed"),
    "doubling arguments": (F + "ARG a=xxxxxxxx\n" + "ARG a=$a$a\n" * 64, "substitutions exceed maximum allowed size"),
    "doubling arguments before FROM": ("ARG a=xxxxxxxx\n" + "ARG a=$a$a\n" * 64 + F, "substitutions exceed maximum allowed size"),
    "deep substitutions": (F + "ENV a=" + "${a:-" * 9000 + "}" * 9000 + "\n", "failed to process"),
    "a hundred thousand heredocs": (F + "RUN <<E\nE\n" * 100000, "at most 30000 are allowed"),
    "an open heredoc": (F + "RUN <<E\n" + "x\n" * 1000000, "unterminated heredoc"),
    "nested triggers": (F + "ONBUILD " * 5000 + "RUN true\n", "ONBUILD"),
    "a cycle": ("FROM busybox AS a\nCOPY --from=b x y\nFROM busybox AS b\nCOPY --from=a x y\n", "circular dependency detected on stage"),
    "an environment in every step": (F + "".join(f"ENV v{i}={'x' * 60}\n" for i in range(9000)) + "RUN true\n" * 20000,
                                     "definition exceeds maximum allowed size"),
}


@own
@weight(8)
def test_dockerfiles(w):
    d = w.daemon()
    for what, (text, error) in HOSTILE.items():
        r = d.docker("buildx", "build", "--progress=plain", str(w.context(text)))
        equal((what, r.code != 0, error in r.err), (what, True, True), r.err[-500:])
    with open(f"/proc/{d.process.pid}/status") as f:
        peak = int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M)[1]) // 1024
    equal(peak < 400, True, f"{peak} MiB at the most")
    d.docker("buildx", "build", "-q", str(w.context(F + "RUN true\n"))).ok()
