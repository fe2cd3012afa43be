# SPDX-License-Identifier: Apache-2.0
"""Hostile archives: what a tar may say to reach outside of the folder that it is unpacked into (security.md M5)."""
import io
import tarfile

FILE, HARD, SYM, CHAR, BLOCK, DIR, FIFO = (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE,
                                           tarfile.DIRTYPE, tarfile.FIFOTYPE)


def member(name, kind=FILE, to="", data=b"evil\n", mode=None, uid=0, pax=None, fmt=tarfile.PAX_FORMAT, **more):
    i = tarfile.TarInfo(name)
    i.type, i.linkname, i.uid, i.mtime = kind, to, uid, 1700000000
    i.mode = mode if mode is not None else 0o777 if kind == DIR else 0o666
    if kind != FILE:
        data = b""
    i.size = len(data)
    i.pax_headers = pax or {}
    for k, v in more.items():
        setattr(i, k, v)
    body = data + b"\0" * (-len(data) % 512)
    return i.tobuf(fmt, "utf-8", "surrogateescape") + body


def raw_pax(records):
    """A PAX header whose records are as given, however wrong, for the member behind it."""
    data = b""
    for k, v in records:
        body = b" " + k + b"=" + v + b"\n"
        n = len(body)
        while len(str(n).encode() + body) != n:
            n = len(str(n).encode() + body)
        data += str(n).encode() + body
    i = tarfile.TarInfo("pax")
    i.type, i.size = tarfile.XHDTYPE, len(data)
    return i.tobuf(tarfile.USTAR_FORMAT) + data + b"\0" * (-len(data) % 512)


def header_with(name, size=None, uid=None, mtime=None):
    """One header whose numbers are the given 12 or 8 raw bytes."""
    h = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    if uid is not None:
        h[108:116] = uid
    if size is not None:
        h[124:136] = size
    if mtime is not None:
        h[136:148] = mtime
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def corpus(c):
    """-> [(name, tar)] for a canary folder c that holds f, empty and d/. A member that gets out creates or changes c/escaped or c/f."""
    c = str(c)
    up = "../" * 16 + c.strip("/")
    far = c.strip("/")
    end = b"\0" * 1024
    m, r = member, []

    def add(name, *parts, tail=end):
        r.append((name, b"".join(parts) + tail))

    # names
    add("dotdot", m(up + "/escaped"))
    add("dotdot-inside", m("a/../../../../../../../../../../../" + far + "/escaped"))
    add("absolute", m(c + "/escaped"), m("/" + c + "/f"))
    add("odd-slashes", m(".//./a//../.././/" + up + "//escaped"))
    add("gnu-long-name", m("x" * 200 + "/../" + up + "/escaped", fmt=tarfile.GNU_FORMAT))
    add("pax-path", raw_pax([(b"path", (up + "/escaped").encode())]), m("fine", fmt=tarfile.USTAR_FORMAT))
    add("pax-path-nul", raw_pax([(b"path", b"fine\0" + up.encode() + b"/escaped")]), m("fine", fmt=tarfile.USTAR_FORMAT))
    add("pax-path-empty", raw_pax([(b"path", b"")]), m("fine", fmt=tarfile.USTAR_FORMAT))
    add("pax-path-twice", raw_pax([(b"path", b"fine"), (b"path", (up + "/escaped").encode())]), m("fine", fmt=tarfile.USTAR_FORMAT))
    for n, name in enumerate((".", "..", "/", "", "...", "./..", "../")):
        add(f"name-{n}", m(name, SYM, c), m(name + "/escaped"), m(name, data=b"evil"))
    # symbolic links
    add("link-then-file", m("l", SYM, c), m("l/escaped"))
    add("relative-link-then-file", m("l", SYM, up), m("l/escaped"))
    add("link-chain", m("a", SYM, "b"), m("b", SYM, "x/../c"), m("c", SYM, up), m("a/escaped"))
    add("link-to-root", m("l", SYM, "/"), m("l/" + far + "/f"), m("l/" + far + "/escaped"))
    add("link-up", m("x/l", SYM, "../.."), m("x/l/" + up + "/escaped"))
    add("link-then-mkdirs", m("x/y", SYM, c), m("x/y/escaped/deep/er", DIR), m("x/y/escaped/f"))
    add("file-over-link", m("s", SYM, c + "/f"), m("s", data=b"evil"))
    add("dir-over-link", m("d", SYM, c + "/d"), m("d", DIR, mode=0o777, uid=1234))
    add("dir-over-link-then-file", m("l", SYM, c), m("l", DIR), m("l/escaped"))
    add("link-over-dir", m("d", DIR), m("d/keep"), m("d", SYM, c), m("d/escaped"))
    add("link-over-file", m("d"), m("d", SYM, c), m("d/escaped"))
    add("link-changes", m("l", DIR), m("l", SYM, "/tmp"), m("l", SYM, c), m("l/escaped"), m("l", DIR), m("l/f"))
    add("link-slash", m("l/", SYM, c), m("l/escaped"))
    add("link-empty", m("l", SYM, ""), m("l/escaped"))
    add("link-loop", m("a", SYM, "b"), m("b", SYM, "a"), m("a/escaped"))
    add("link-long", m("l", SYM, "x/" * 3000), m("l/escaped"))
    add("pax-linkpath", raw_pax([(b"linkpath", c.encode())]), m("l", SYM, "fine", fmt=tarfile.USTAR_FORMAT), m("l/escaped"))
    add("pax-linkpath-nul", raw_pax([(b"linkpath", c.encode() + b"\0x")]), m("l", SYM, "fine", fmt=tarfile.USTAR_FORMAT), m("l/escaped"))
    # hard links
    add("hard-absolute", m("h", HARD, c + "/f"), m("h", data=b"evil"), m("h2", HARD, "h"))
    add("hard-relative", m("h", HARD, up + "/f"), m("h", data=b"evil"))
    add("hard-through-link", m("l", SYM, c), m("h", HARD, "l/f"), m("h", data=b"evil"))
    add("hard-through-relative-link", m("x/l", SYM, up), m("h", HARD, "x/l/f", mode=0o777, uid=7), m("h", data=b"evil"))
    add("hard-to-link", m("s", SYM, c + "/f"), m("h", HARD, "s", mode=0o777, uid=7), m("h", data=b"evil"))
    add("hard-to-link-dir", m("s", SYM, c), m("h", HARD, "s"), m("h/escaped"))
    add("hard-name-through-link", m("keep"), m("l", SYM, c), m("l/escaped", HARD, "keep"))
    add("hard-to-itself", m("h", HARD, "h"), m("h", data=b"x"), m("h", HARD, "h"))
    add("hard-to-dir", m("d", DIR), m("h", HARD, "d"), m("h/../" + up + "/escaped"))
    add("hard-to-root", m("h", HARD, "/"), m("h/escaped"), m("g", HARD, "."), m("i", HARD, ".."))
    add("hard-missing", m("h", HARD, "nowhere"))
    # whiteouts
    add("whiteout-through-link", m("d", SYM, c), m("d/.wh.f", data=b""), m("d/.wh.d", data=b""))
    add("opaque-through-link", m("d", SYM, c), m("d/.wh..wh..opq", data=b""))
    for n, name in enumerate((".wh.", ".wh..", ".wh...", "x/.wh..", "x/.wh...", ".wh..wh..", ".wh./" + up + "/f", ".wh.." + "/" + up + "/f",
                              ".wh..wh.plnk/1", ".wh..wh.aufs")):
        add(f"whiteout-{n}", m("x", DIR), m(name, data=b""))
    add("whiteout-link", m(".wh.l", SYM, c), m(".wh.l/escaped"), m("d/.wh..wh..opq", SYM, c))
    add("whiteout-dir", m(".wh.d", DIR), m(".wh.d/f"), m(".wh..wh..opq", DIR))
    add("whiteout-hard", m(".wh..wh.plnk/1"), m("h", HARD, ".wh..wh.plnk/1"), m(".wh.x", HARD, c + "/f"))
    # attributes and devices
    for n, (k, v) in enumerate((("trusted.overlay.redirect", "/../../" + far), ("trusted.overlay.opaque", "y"), ("trusted.overlay.metacopy", ""),
                                ("user.overlay.redirect", c), ("security.capability", "\1\2"), ("system.posix_acl_access", "x"))):
        add(f"attribute-{n}", m("d", DIR, pax={f"SCHILY.xattr.{k}": v}), m("f", pax={f"SCHILY.xattr.{k}": v}))
    add("attribute-through-link", m("l", SYM, c + "/f", pax={"SCHILY.xattr.user.evil": "1"}))
    add("devices", m("mem", CHAR, devmajor=1, devminor=1), m("disk", BLOCK, devmajor=254, devminor=0), m("white", CHAR, devmajor=0, devminor=0))
    add("fifo-then-file", m("p", FIFO), m("p", data=b"evil"), m("q", FIFO), m("r", HARD, "q"), m("r", data=b"evil"))
    # numbers and shapes
    add("size-huge", header_with("f", size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7))
    add("size-negative", header_with("f", size=b"\xff" * 12))
    add("size-octal-max", header_with("f", size=b"77777777777\0"))
    add("size-words", header_with("f", size=b"not a number"))
    add("uid-huge", header_with("f", uid=b"\x80" + b"\0" + b"\xff" * 6))
    add("uid-minus-one", m("f", uid=0xFFFFFFFF))
    add("mtime-far", header_with("f", mtime=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7))
    add("sparse", raw_pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", (up + "/escaped").encode()),
                           (b"GNU.sparse.realsize", b"9223372036854775807")]), m("f", data=b"1\n9223372036854775806\n1\n" + b"x" * 600))
    add("pax-bad-length", raw_pax([(b"path", b"x")])[:512] + b"9999999999 path=x\n".ljust(512, b"\0"), m("f"))
    add("pax-huge", header_with("x", size=b"77777777777\0").replace(b"0\0\0\0", b"x\0\0\0", 1))
    add("deep", m("d/" * 3000 + "f"))
    add("long-component", m("x" * 300 + "/escaped"))
    add("unknown-type", m("f", b"Z"), m("g", b"S"), m("v", b"V"), m("multi", b"M"))
    add("truncated", m("f", data=b"x" * 5000)[:3000], tail=b"")
    add("no-end", m("f"), tail=b"")
    add("garbage", bytes(range(256)) * 40)
    add("bad-checksum", m("f")[:100] + b"x" * 10 + m("f")[110:])
    return r


def archive(files):
    """A plain tar of {name: bytes}."""
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w") as t:
        for name, data in files.items():
            i = tarfile.TarInfo(name)
            i.size = len(data)
            t.addfile(i, io.BytesIO(data))
    return b.getvalue()
