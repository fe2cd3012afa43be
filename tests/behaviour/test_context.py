# SPDX-License-Identifier: Apache-2.0
"""What a client's directory is, copied and looked at: the same whether its small files lie in a tree or not."""
import os
import re
import tarfile

from harness import contains, equal

# every file and folder but the system's: type, mode, owner, names, size, time, path, target, sum
LIST = """find /c /d /one /new /w -xdev ! -name Dockerfile | sort | while read f; do stat -c '%f %u:%g %Y %n' "$f"; [ -f "$f" ] && stat -c '%h %s' "$f" && md5sum "$f"; readlink "$f" || true; done"""


def fill(folder):
    """One of everything that a context may hold."""
    for i in range(40):
        f = folder / "many" / f"d{i % 2}" / f"f{i}"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_text(f"content {i}\n" * i)
        os.chmod(f, (0o644, 0o755, 0o400, 0o4755)[i % 4])
        os.chown(f, (0, 7)[i % 2], (0, 8)[i // 2 % 2])
    (folder / "crontab").write_text("* * * * * root true\n")
    (folder / "a-b").write_text("beside a")
    (folder / "a").mkdir()
    (folder / "a/z").write_text("")
    (folder / "a/link").symlink_to("../crontab")
    (folder / "dirlink").symlink_to("many/d1")
    (folder / "mid").write_bytes(os.urandom(100000))
    (folder / "big").write_bytes(os.urandom(3 << 20))
    (folder / "hard1").write_text("two names")
    os.link(folder / "hard1", folder / "hard2")
    (folder / "empty").mkdir(mode=0o711)
    for f in sorted(folder.rglob("*")):
        os.utime(f, ns=(10**18, 1500000000123456789 + len(f.name)), follow_symlinks=False)


STEPS = """
COPY . /c
COPY many/ /d/
COPY many/d0/f2 many/*/f3* a/z /w/
COPY crontab /one
COPY --chown=5:6 --chmod=640 dirlink/f5 dirlink/f7 /new/x/
COPY --exclude=**/f1* --parents many/./d1 /new/
COPY a/link /new/followed
"""


def test_names(w):
    """A file in a container has one name, however it got there, the first time and again."""
    d = w.shared()
    c = w.context("FROM busybox\nCOPY . /c\nCOPY crontab mid /etc/cron.d/\nADD crontab /added/\nRUN --network=none find /c /etc/cron.d /added -type f "
                  "! -links 1 ! -name 'hard?' ! -name big | tee /links\nFROM busybox\nCOPY --from=0 /c/crontab /links /\nRUN test ! -s /links && test $(stat -c %h /crontab) = 1\n")
    fill(c)
    for i in range(3):
        d.docker("build", c).ok()
        (c / "crontab").write_text(f"# {i}\n")


def test_packed_and_laid_out(w):
    """The same Dockerfile, with and without somebody looking into the context's tree first: the same result."""
    d = w.shared()
    look = "FROM busybox\n{}" + STEPS + f"RUN {LIST} > /list\nFROM scratch\nCOPY --from=0 /list /\n"
    plain = w.context(look.format(""))
    fill(plain)
    looked = w.context(look.format("RUN --mount=target=/m cat /m/crontab /m/many/d0/f2 /m/big > /dev/null && test $(find /m -type f | wc -l) -ge 47\n"))
    for f in sorted(looked.rglob("*")):
        f.unlink() if f.name != "Dockerfile" else None
    with tarfile.open(w.folder("t") / "t", "w") as t:
        for x in sorted(plain.iterdir()):
            if x.name != "Dockerfile":
                t.add(x, x.name)
        name = t.name
    with tarfile.open(name) as t:
        t.extractall(looked, numeric_owner=True)
    for f in sorted(plain.rglob("*")):
        if f.name != "Dockerfile":
            os.utime(looked / f.relative_to(plain), ns=(10**18, f.lstat().st_mtime_ns), follow_symlinks=False)
    os.utime(looked / "Dockerfile", ns=(10**18, 10**18))
    os.utime(plain / "Dockerfile", ns=(10**18, 10**18))
    for i in range(3):
        lists = []
        for c in (plain, looked):
            out = w.folder("out")
            d.docker("build", "-o", out, c).ok()
            lists.append(re.sub(r"^(41\S+ \S+) (?!1[56]0000000\d )\d+", r"\1 now", (out / "list").read_text(), flags=re.M).splitlines())
            contains("\n".join(lists[-1]), "/c/many/d1/f39")
        equal([x for x in lists[1] if x not in lists[0]][:5], [], "what only the one has")
        equal(lists[1] == lists[0], True, "the same")
        for c in (plain, looked):
            (c / "many/d0/f2").write_text(f"changed {i}\n")
            (c / "many/d1/f1").unlink(missing_ok=True)
            (c / f"many/d1/new{i}").write_text("new\n")
            for f in (c / "many/d0/f2", c / f"many/d1/new{i}", c / "many/d1", c / "many/d0"):
                os.utime(f, ns=(10**18, 1600000000123456789 + i))


def test_looked_at_while_copied(w):
    """Steps that copy and steps that mount the context, at the same time."""
    d = w.shared()
    stages = "".join(f"FROM busybox AS s{i}\n" + (f"COPY many /x{i}\n" if i % 2 else f"RUN --mount=target=/m cp -r /m/many /x{i}\n") for i in range(8))
    c = w.context(stages + "FROM busybox\n" + "".join(f"COPY --from=s{i} /x{i} /x{i}\n" for i in range(8)) +
                  "RUN for i in 1 2 3 4 5 6 7; do diff -r /x0 /x$i || exit 1; done; test $(find /x0 -type f | wc -l) = 40\n")
    fill(c)
    for i in range(3):
        d.docker("build", c).ok()
        (c / "many/d0/f2").write_text(f"changed {i}\n")
