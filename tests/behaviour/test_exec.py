# SPDX-License-Identifier: Apache-2.0
"""What is done to and with a container that exists: exec, cp, commit, export, diff, top, stats; with the docker CLIs, docker-py and plain HTTP."""
import base64
import contextlib
import io
import json
import os
import pty
import select
import shlex
import subprocess
import tarfile
import textwrap
import time
import urllib.parse

import harness
from harness import canary, check, contains, equal, own, run, tar_of, wait_for


def running(w, *args, image="busybox"):
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    return d, d.docker("run", "-d", *args, image, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done").ok().out.strip()


def gone(d, *names):
    d.docker("rm", "-f", *names).ok()


def events(d, c):
    q = urllib.parse.urlencode({"since": "1", "until": f"{time.time():.9f}", "filters": json.dumps({"container": [c]})})
    return [json.loads(e)["Action"] for e in d.http("GET", f"/v1.43/events?{q}")[2].splitlines()]


def test_exec(w):
    d, c = running(w, "-e", "A=container", "--workdir", "/tmp", "--user", "1:1")
    r = d.docker("exec", c, "sh", "-c", "echo out; echo err >&2; exit 7")
    equal((r.code, r.out, r.err), (7, "out\n", "err\n"), "exec")
    equal(d.docker("exec", c, "sh", "-c", "echo $A $B; pwd; id -u; hostname").ok().out, f"container\n/tmp\n1\n{c[:12]}\n", "settings")
    equal(d.docker("exec", "-e", "A=own", "-e", "B=b", "-w", "/etc", "-u", "0", c, "sh", "-c", "echo $A $B; pwd; id -u").ok().out, "own b\n/etc\n0\n", "own settings")
    equal(d.docker("exec", "-i", c, "cat", stdin=b"through stdin\n").ok().out, "through stdin\n", "stdin")
    equal(len(d.docker("exec", c, "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x").ok().out), 3000000, "much output")
    r = d.docker("exec", c, "no-such-program")
    equal(r.code, 127, "a program that is not there")
    contains(r.out + r.err, 'exec: "no-such-program": executable file not found in $PATH')
    equal(d.docker("exec", c, "/etc/passwd").code, 126, "a file that is no program")
    d.docker("exec", "-d", c, "touch", "/tmp/detached").ok()
    wait_for(lambda: d.docker("exec", c, "ls", "/tmp/detached").code == 0, "the detached process")
    equal(d.docker20("exec", c, "echo", "old").ok().out, "old\n", "an old client")
    d.docker("exec", "no-such-container", "true").fails("No such container: no-such-container")
    d.docker("stop", c).ok()
    d.docker("exec", c, "true").fails(f"container {c} is not running")
    gone(d, c)


def test_exec_terminal(w):
    d, c = running(w)
    main, sub = pty.openpty()
    p = subprocess.Popen([w.clients / "bin/docker", "exec", "-it", c, "sh"], env=d.env(TERM="xterm"), stdin=sub, stdout=sub, stderr=sub,
                         start_new_session=True)
    os.close(sub)
    seen = b""

    def until(text):
        nonlocal seen
        while text not in seen:
            check(select.select([main], [], [], 20)[0], f"nothing more after {seen!r}")
            seen += os.read(main, 4096)

    until(b"# ")
    os.write(main, b"stty size; tty; echo do''ne\n")
    until(b"done")
    contains(seen.decode(), "/dev/pts/")
    os.write(main, b"exit 3\n")
    equal(p.wait(20), 3, "exit code")
    os.close(main)
    gone(d, c)


def test_exec_http(w):
    d, c = running(w)
    status, _, body = d.http("POST", f"/v1.43/containers/{c}/exec", b"{}", {"Content-Type": "application/json"})
    equal((status, json.loads(body)["message"]), (400, "No exec command specified"), "no command")
    x = d.json("POST", f"/v1.43/containers/{c}/exec", {"Cmd": ["sh", "-c", "exit 4"], "AttachStdout": True})["Id"]
    equal(d.json("GET", f"/v1.43/containers/{c}/json")["ExecIDs"], [x], "ExecIDs")
    i = d.json("GET", f"/v1.43/exec/{x}/json")
    equal((i["Running"], i["ExitCode"], i["ContainerID"], i["ProcessConfig"]["entrypoint"], i["ProcessConfig"]["arguments"]),
          (False, None, c, "sh", ["-c", "exit 4"]), "before the start")
    d.json("POST", f"/v1.43/exec/{x}/start", {"Detach": True})
    wait_for(lambda: not d.json("GET", f"/v1.43/exec/{x}/json")["Running"], "the end")
    equal(d.json("GET", f"/v1.43/exec/{x}/json")["ExitCode"], 4, "exit code")
    status, _, body = d.http("POST", f"/v1.43/exec/{x}/start", b'{"Detach": true}', {"Content-Type": "application/json"})
    equal((status, json.loads(body)["message"]), (409, f"exec command {x} has already run"), "a second start")
    status, _, body = d.http("GET", "/v1.43/exec/nope/json")
    equal((status, json.loads(body)["message"]), (404, "No such exec instance: nope"), "unknown id")
    seen = events(d, c)
    check({"exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die"} <= set(seen), seen)
    gone(d, c)


def test_exec_ends_with_its_container(w):
    d, c = running(w)
    p = d.spawn(w.clients / "bin/docker", "exec", c, "sh", "-c", "echo up; sleep 1000")
    equal(p.stdout.readline(), b"up\n", "started")
    d.docker("rm", "-f", c).ok()
    check(p.wait(20) != 0, "the client's exit code")


def test_exec_ends_with_a_container_of_the_hosts_processes(w):
    d, c = running(w, "--pid", "host")
    d.docker("exec", "-d", c, "sleep", "1000").ok()
    d.docker("kill", c, timeout=9).ok()
    equal(d.docker("inspect", "-f", "{{.State.Status}}", c).ok().out, "exited\n", "its end")
    gone(d, c)


def test_resize(w):
    d, c = running(w, "-t")
    d.json("POST", f"/v1.43/containers/{c}/resize?h=11&w=22")
    equal(d.docker("exec", c, "stty", "-F", "/proc/1/fd/0", "size").ok().out, "11 22\n", "size")
    contains("\n".join(events(d, c)), "resize")
    x = d.json("POST", f"/v1.43/containers/{c}/exec", {"Cmd": ["true"], "Tty": True})["Id"]
    d.json("POST", f"/v1.43/exec/{x}/start", {"Detach": True})
    wait_for(lambda: not d.json("GET", f"/v1.43/exec/{x}/json")["Running"], "the end")
    status, _, body = d.http("POST", f"/v1.43/exec/{x}/resize?h=1&w=2")
    equal((status, json.loads(body)["message"]), (400, "exec process is not started"), "one that has ended")
    gone(d, c)


def test_docker_py(w):
    d, c = running(w)
    script = textwrap.dedent(f"""
        import docker
        c = docker.from_env().containers.get({c!r})
        r = c.exec_run("sh -c 'echo out; echo err >&2; exit 3'")
        assert (r.exit_code, sorted(r.output.split())) == (3, [b"err", b"out"]), r
        r = c.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
        assert r.output == (b"out\\n", b"err\\n"), r
        assert c.exec_run("pwd", workdir="/etc").output == b"/etc\\n"
        assert c.exec_run("sh -c 'echo $X'", environment={{"X": "y"}}).output == b"y\\n"
        assert c.exec_run("id -u", user="2").output == b"2\\n"
        assert c.exec_run("tty", tty=True).output.startswith(b"/dev/pts/")
        assert b"".join(c.exec_run("echo streamed", stream=True).output) == b"streamed\\n"
        assert c.exec_run("true", detach=True).output in ("", b"")
        s = c.exec_run("cat", stdin=True, socket=True).output
        s._sock.sendall(b"typed\\n")
        import socket
        s._sock.shutdown(socket.SHUT_WR)
        assert b"typed" in s._sock.recv(100)
    """)
    run([w.clients / "venv/bin/python", "-c", script], env=d.env()).ok()
    gone(d, c)


def test_cp(w):
    """Both ways, running and stopped, through links and bind mounts."""
    shared = w.folder("shared")
    (shared / "there").write_text("on the host\n")
    d, c = running(w, "-v", f"{shared}:/data", "-v", f"{shared}:/ro:ro")
    src = w.context(**{"file": ("content\n", 0o640), "dir/a": "A", "dir/sub/b": ("B", 0o755)})
    os.symlink("a", src / "dir/link")
    for state in ("running", "stopped"):
        d.docker("cp", src / "file", f"{c}:/tmp/f-{state}").ok()
        d.docker("cp", src / "dir", f"{c}:/tmp/d-{state}").ok()
        d.docker("cp", src / "file", f"{c}:/data/from-{state}").ok()
        equal((shared / f"from-{state}").read_text(), "content\n", "through a bind mount")
        out = w.folder("out")
        d.docker("cp", f"{c}:/tmp/f-{state}", out / "f").ok()
        d.docker("cp", f"{c}:/tmp/d-{state}", out / "d").ok()
        d.docker("cp", f"{c}:/data/there", out / "there").ok()
        equal((out / "f").read_text(), "content\n", "file")
        equal(oct((out / "f").stat().st_mode & 0o777), "0o640", "mode")
        equal((os.readlink(out / "d/link"), (out / "d/sub/b").read_text()), ("a", "B"), "directory")
        equal((out / "there").read_text(), "on the host\n", "from a bind mount")
        d.docker("cp", f"{c}:/tmp/missing", out).fails("/tmp/missing")  # Debian's CLI has words of its own
        status, _, body = d.http("GET", f"/v1.43/containers/{c}/archive?path=/tmp/missing")
        equal((status, json.loads(body)["message"]), (404, f"Could not find the file /tmp/missing in container {c}"), "what is not there")
        d.docker("cp", src / "file", f"{c}:/nowhere/x").fails("/nowhere")
        d.docker("cp", src / "file", f"{c}:/ro/x").fails("mounted volume is marked read-only")
        equal(d.docker("cp", f"{c}:/etc/passwd", "-").ok().out[:6], "passwd", "as a tar")
        if state == "running":
            equal(d.docker("exec", c, "cat", "/tmp/f-running", "/tmp/d-running/link").ok().out, "content\nA", "inside")
            d.docker("stop", c).ok()
    d.docker("start", c).ok()
    equal(d.docker("exec", c, "cat", "/tmp/f-stopped", "/tmp/d-stopped/sub/b").ok().out, "content\nB", "what was copied while it was stopped")
    gone(d, c)


def test_cp_and_binds(w):
    """Where a bind is mounted the files are the host's, whatever way leads there, and before the first start, too."""
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    host = w.context(f="x").parent / "bound"
    host.mkdir(exist_ok=True)
    (host / "there").write_text("host\n")
    c = d.docker("create", "-v", f"{host}:/data/deep", "-v", f"{host}:/var/run/bound:ro", "busybox", "sh", "-c", "sleep 1000").ok().out.strip()
    d.docker("cp", w.context(f="copied") / "f", f"{c}:/data/deep/copied").ok()
    equal((host / "copied").read_text(), "copied", "into a bind of a container that never ran")
    d.docker("start", c).ok()
    for path in ("/data/deep/there", "/var/run/bound/there", "/proc/../data/./deep/there"):
        d.docker("cp", f"{c}:{path}", w.tmp / "out").ok()
        equal((w.tmp / "out").read_text(), "host\n", path)
    d.docker("cp", w.context(f="x") / "f", f"{c}:/var/run/bound/no").fails("read-only")
    gone(d, c)


def test_archive_http(w):
    d, c = running(w)
    d.docker("exec", c, "sh", "-c", "ln -s /etc/passwd /tmp/l; mkdir /tmp/d; echo x > /tmp/d/f; chmod 4711 /tmp/d/f").ok()

    def stat(path):
        status, headers, _ = d.http("HEAD", f"/v1.43/containers/{c}/archive?" + urllib.parse.urlencode({"path": path}))
        return status, json.loads(base64.b64decode(headers["x-docker-container-path-stat"])) if status == 200 else None

    equal([stat("/tmp/l")[1][k] for k in ("name", "linkTarget")], ["l", "/etc/passwd"], "a link")
    check(stat("/tmp/l")[1]["mode"] & (1 << 27), "a link's mode")
    s = stat("/tmp/d/f")[1]
    equal((s["name"], s["size"], s["mode"]), ("f", 2, 0o711 | 1 << 23), "a file")
    check(stat("/tmp/d")[1]["mode"] & (1 << 31), "a directory's mode")
    equal(stat("/nope")[0], 404, "what is not there")
    status, _, body = d.http("GET", f"/v1.43/containers/{c}/archive")
    equal(status, 400, "no path")

    def names(path):
        data = d.http("GET", f"/v1.43/containers/{c}/archive?" + urllib.parse.urlencode({"path": path}))[2]
        with tarfile.open(fileobj=io.BytesIO(data)) as t:
            return [m.name for m in t]

    equal(names("/tmp/d"), ["d", "d/f"], "a directory")
    equal(names("/tmp/d/."), [".", "./f"], "what is in a directory")
    equal(names("/tmp/d/f"), ["f"], "a file")
    equal(names("/tmp/l"), ["l"], "a link")

    def put(path, entries, **query):
        status, _, body = d.http("PUT", f"/v1.43/containers/{c}/archive?" + urllib.parse.urlencode({"path": path, **query}), tar_of(entries),
                                 {"Content-Type": "application/x-tar"})
        return status, json.loads(body)["message"] if body else ""

    equal(put("/tmp", [("d", "f", 0o644, 3, 4, b"x")], noOverwriteDirNonDir="1")[0] >= 400, True, "a file for a directory")
    equal(put("/tmp", [("new", "f", 0o600, 3, 4, b"x")]), (200, ""), "put")
    equal(d.docker("exec", c, "stat", "-c", "%u:%g %a", "/tmp/new").ok().out, "3:4 600\n", "owner")
    equal(put("/tmp", [("mine", "f", 0o600, 3, 4, b"x")], copyUIDGID="1"), (200, ""), "put as the container's user")
    equal(d.docker("exec", c, "stat", "-c", "%u:%g", "/tmp/mine").ok().out, "3:4\n", "owner, as the container names no user")
    d, other = running(w, "--user", "1:1")
    d.docker("cp", w.context(f="x") / "f", f"{other}:/tmp/plain").ok()
    d.docker("cp", "-a", w.context(f="x") / "f", f"{other}:/tmp/archived").ok()
    equal(d.docker("exec", other, "sh", "-c", "stat -c %u:%g /tmp/plain /tmp/archived").ok().out.split()[0], "0:0", "owner of a plain copy")
    gone(d, other)
    equal(put("/etc/passwd", [("x", "f", 0o600, 3, 4, b"x")]), (400, "extraction point is not a directory"), "into a file")
    gone(d, c)


def test_archive_stays_inside(w):
    """Links of a hostile container lead to its own files."""
    with canary(w) as state:
        outside = str(state)
        d, c = running(w)
        d.docker("exec", c, "sh", "-c", f"mkdir -p /tmp/x && ln -s {outside} /tmp/x/abs && ln -s ../../../../../../../..{outside} /tmp/x/rel && ln -s / /tmp/x/root").ok()
        for path in ("/tmp/x/abs", "/tmp/x/rel"):
            status, _, _ = d.http("GET", f"/v1.43/containers/{c}/archive?path={path}/")
            equal(status, 404, path)
            status, _, _ = d.http("PUT", f"/v1.43/containers/{c}/archive?path={path}", tar_of([("evil", "f", 0o644, 0, 0, b"x")]), {"Content-Type": "application/x-tar"})
            equal(status, 404, path)
        entries = [("up", "l", 0o777, 0, 0, "../../../../../../.." + outside), ("up/evil", "f", 0o644, 0, 0, b"x"), ("../../evil", "f", 0o644, 0, 0, b"x")]
        d.http("PUT", f"/v1.43/containers/{c}/archive?path=/tmp/x/root/tmp", tar_of(entries), {"Content-Type": "application/x-tar"})
        gone(d, c)


def test_names_that_are_no_text(w):
    """File names are bytes; JSON shows U+FFFD for what is no UTF-8."""
    d, c = running(w)
    d.docker("exec", c, "sh", "-c", "f=$(printf '/tmp/a\\377'); echo x > $f; ln -s $f /tmp/link").ok()
    equal(d.docker("diff", c).ok().out.encode("utf-8", "surrogateescape").decode().splitlines(), ["C /tmp", "A /tmp/a\ufffd", "A /tmp/link"], "diff")
    for method in ("HEAD", "GET"):
        status, headers, _ = d.http(method, f"/v1.43/containers/{c}/archive?path=/tmp/a%FF")
        equal(status, 200, method)
        stat = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
        equal((stat["name"], stat["size"]), ("a\ufffd", 2), method)
    stat = json.loads(base64.b64decode(d.http("HEAD", f"/v1.43/containers/{c}/archive?path=/tmp/link")[1]["x-docker-container-path-stat"]))
    equal(stat["linkTarget"], "/tmp/a\ufffd", "where the link leads")
    d.docker("exec", "-d", c, "sh", "-c", "exec sleep $(printf '1000\\377') 1000 || exec sh -c 'sleep 1000; :' $(printf 'b\\377')").ok()
    equal({len(p) for p in d.json("GET", f"/v1.43/containers/{c}/top")["Processes"]}, {8}, "columns of top")
    gone(d, c)


def test_diff_does_not_follow_links_of_the_image(w):
    d, c = running(w)
    d.docker("exec", c, "ln", "-s", "/etc", "/link").ok()
    d.docker("commit", c, "with-link").ok()
    d, other = running(w, image="with-link")
    d.docker("exec", other, "sh", "-c", "rm /link && mkdir -p /link && echo x > /link/passwd").ok()
    equal(d.docker("diff", other).ok().out.splitlines(), ["C /link", "A /link/passwd"], "a directory in a link's place")
    gone(d, c, other)
    d.docker("rmi", "with-link").ok()


def test_cp_into_a_container_that_swaps_its_files(w):
    """What the container puts in the place of a file that was just made is a link to the host's: nothing there changes."""
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    victim = w.folder("host") / "victim"
    victim.write_text("mine")
    victim.chmod(0o600)
    swap = f"mkdir /t; while :; do ln -s {victim} /t/l; mv -f /t/l /t/f; done"
    d.docker("run", "-d", "--name", "swaps", "busybox", "sh", "-c", swap).ok()
    wait_for(lambda: d.docker("exec", "swaps", "test", "-L", "/t/f").code == 0, "the first link")
    archive = tar_of([("f", "f", 0o4777, 0, 0, b"theirs")] * 500)
    for _ in range(10):
        d.http("PUT", "/containers/swaps/archive?path=/t", archive, {"Content-Type": "application/x-tar"})
        if victim.stat().st_mode & 0o7777 != 0o600:
            break
    d.docker("rm", "-f", "swaps").ok()
    equal((oct(victim.stat().st_mode & 0o7777), victim.read_text()), ("0o600", "mine"), "the host's file")


DEEP = "cd /tmp; i=0; while [ $i -lt %d ]; do mkdir d; cd d; i=$((i+1)); done; touch end"


@contextlib.contextmanager
def daemon_for_deep_trees(w):
    """Python's own rmtree cannot take such a tree away."""
    d = w.daemon()
    try:
        d.docker("pull", "-q", "busybox").ok()
        yield d
        d.docker("version").ok()
    finally:
        d.stop()
        subprocess.run(["rm", "-rf", str(d.root)], check=True)


def test_a_deep_tree(w):
    """Looked at, or refused: never more than the stack holds."""
    with daemon_for_deep_trees(w) as d:
        for depth in (1000, 1100):
            d.docker("run", "--name", "deep", "busybox", "sh", "-c", DEEP % depth).ok()
            r = d.docker("diff", "deep")
            check(r.code == 0 and r.out.count("/d\n") == depth if depth < 1024 else "too deep" in r.err, f"{r.code} {r.err[-300:]}")
            check(d.json("GET", "/containers/json?all=1&size=1")[0].get("SizeRw", 0) == 0, "its files are empty")
            r = d.docker("commit", "deep", "of-the-deep")
            check((r.code == 0) == (depth < 1024), f"{r.code} {r.err[-300:]}")
            d.docker("export", "-o", str(w.folder("export") / "tar"), "deep")
            d.docker("rm", "deep").ok()


def test_a_deep_tree_in_a_build(w):
    with daemon_for_deep_trees(w) as d:
        for depth in (1000, 1100):
            text = f"FROM busybox AS a\nRUN {DEEP % depth}\nFROM busybox\nCOPY --from=a /tmp /x\nRUN rm -rf /x\n"
            r = d.docker("build", "-t", "deep", w.context(text))
            check(r.code == 0 if depth < 1024 else "too long" in r.err, f"{depth}: {r.code} {r.err[-600:]}")


def test_changes_and_export(w):
    d, c = running(w)
    equal(d.docker("diff", c).ok().out, "", "a container that did nothing")
    d.docker("exec", c, "sh", "-c", "echo x > /new; mkdir -p /home/d && echo y > /home/d/f; rm /etc/group; echo z >> /etc/passwd; rm -rf /usr/sbin").ok()
    want = "C /etc\nD /etc/group\nC /etc/passwd\nC /home\nA /home/d\nA /home/d/f\nA /new\nC /usr\nD /usr/sbin\n"
    equal(sorted(d.docker("diff", c).ok().out.splitlines()), sorted(want.splitlines()), "diff")
    d.docker("stop", c).ok()
    equal(sorted(d.docker("diff", c).ok().out.splitlines()), sorted(want.splitlines()), "diff of a stopped container")
    d.docker("export", "-o", w.tmp / "export.tar", c).ok()
    with tarfile.open(w.tmp / "export.tar") as t:
        names = t.getnames()
    check({"new", "home/d/f", "bin/busybox"} <= set(names) and "etc/group" not in names, names[:50])
    d.docker("import", w.tmp / "export.tar", "imported").ok()
    equal(d.docker("run", "--rm", "imported", "cat", "/new").ok().out, "x\n", "the exported files")
    gone(d, c)


def test_commit(w):
    d, c = running(w, "-e", "A=b", "--label", "l=1")
    d.docker("exec", c, "sh", "-c", "echo data > /data; rm /etc/group").ok()
    out = d.docker("commit", "-a", "me", "-m", "a comment", "-c", "CMD [\"cat\", \"/data\"]", "-c", "ENV X=y", "-c", "EXPOSE 80", "-c", "WORKDIR /tmp", c,
                   "committed:v1").ok().out.strip()
    equal(d.docker("run", "--rm", "committed:v1").ok().out, "data\n", "the image runs")
    equal(d.docker("run", "--rm", "committed:v1", "ls", "/etc/group").code, 1, "what was deleted")
    i = d.json("GET", "/v1.43/images/committed:v1/json")
    equal((i["Id"], i["Author"], i["Comment"], i["Parent"]), (out, "me", "a comment", d.json("GET", "/v1.43/images/busybox/json")["Id"]), "image")
    equal((i["Config"]["WorkingDir"], i["Config"]["Labels"], list(i["Config"]["ExposedPorts"])), ("/tmp", {"l": "1"}, ["80/tcp"]), "config")
    check({"A=b", "X=y"} <= set(i["Config"]["Env"]), i["Config"]["Env"])
    equal(len(i["RootFS"]["Layers"]), 2, "layers")
    check(d.json("GET", f"/v1.43/containers/{c}/json")["State"]["Running"], "the container goes on")
    idle = d.docker("run", "-d", "busybox", "sleep", "1000").ok().out.strip()
    same = d.docker("commit", idle).ok().out.strip()
    equal(d.json("GET", f"/v1.43/images/{same}/json")["RootFS"], d.json("GET", "/v1.43/images/busybox/json")["RootFS"], "a container that did nothing")
    equal(d.http("POST", f"/v1.41/commit?container={c}", b"null", {"Content-Type": "application/json"})[0], 201, "a client without settings sends null")
    gone(d, idle)
    d.docker("commit", "-c", "RUN true", c).fails("RUN is not a valid change command")
    lines = ["ENV X=$A:more", "ENV X=$X:again", "WORKDIR /srv", "WORKDIR $A", "EXPOSE 8000-8002/udp", "LABEL from=$A", "USER $A"]
    expanded = d.docker("commit", *[x for line in lines for x in ("-c", line)], c).ok().out.strip()
    i = d.json("GET", f"/v1.43/images/{expanded}/json")["Config"]
    check("X=b:more:again" in i["Env"], i["Env"])
    equal((i["WorkingDir"], i["User"], i["Labels"]["from"], sorted(i["ExposedPorts"])), ("/srv/b", "b", "b", ["8000/udp", "8001/udp", "8002/udp"]), "variables")
    d.docker("commit", "-c", "STOPSIGNAL nonsense", c).fails("invalid signal: nonsense")
    contains("\n".join(events(d, c)), "commit")
    d.docker("rmi", "committed:v1").ok()
    gone(d, c)


def test_commit_settings(w):
    """Every instruction that may be a change, every parameter, and what is refused."""
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "settings", "-e", "E=1", "busybox", "sleep", "1000").ok()

    def commit(body=None, **query):
        q = urllib.parse.urlencode(query, doseq=True)
        status, _, data = d.http("POST", f"/v1.43/commit?{q}", body, {"Content-Type": "application/json"} if body else {})
        return status, json.loads(data)

    def config(name):
        i = d.json("GET", f"/v1.43/images/{name}/json")
        return i, i["Config"]

    try:
        changes = ['CMD ["a","b"]', "ENTRYPOINT e f", "ENV A=b C=\"d e\"", "EXPOSE 80 81/udp", "LABEL l=m v=$E", "USER u:g", "VOLUME /v1 /v2", "WORKDIR /w\nWORKDIR below",
                   "STOPSIGNAL SIGQUIT", "HEALTHCHECK --interval=5s CMD x", "ONBUILD RUN y", "env low=${A}c"]
        equal(commit(container="settings", repo="cm/all", comment="why", author="who", changes=changes)[0], 201, "status")
        image, c = config("cm/all")
        equal([c["Cmd"], c["Entrypoint"], c["User"], c["WorkingDir"], c["StopSignal"], c["OnBuild"]],
              [["a", "b"], ["/bin/sh", "-c", "e f"], "u:g", "/w/below", "SIGQUIT", ["RUN y"]], "config")
        equal(set(c["Env"]) >= {"A=b", "C=d e", "E=1", "low=bc"}, True, c["Env"])
        equal([c["Labels"], c["ExposedPorts"], c["Volumes"]], [{"l": "m", "v": "1"}, {"80/tcp": {}, "81/udp": {}}, {"/v1": {}, "/v2": {}}], "maps")
        equal(c["Healthcheck"], {"Test": ["CMD-SHELL", "x"], "Interval": 5000000000}, "Healthcheck")
        equal([image["Author"], image["Comment"]], ["who", "why"], "author, comment")
        body = json.dumps({"Cmd": ["own"], "Env": ["BODY=1"], "Labels": {"x": "y"}, "WorkingDir": "/own"}).encode()
        equal(commit(body, container="settings", repo="cm/body", tag="t", pause="0", changes="ENV B=2")[0], 201, "status with a config")
        _, c = config("cm/body:t")
        equal([c["Cmd"], c["WorkingDir"], c["Labels"], {"BODY=1", "B=2", "E=1"} <= set(c["Env"])], [["own"], "/own", {"x": "y"}, True], "the client's config over the container's")
        equal(commit(container="settings", repo="cm/old:old", tag="new")[0], 201, "status")
        config("cm/old:new")  # the tag takes the place of the name's
        for query, status, why in (({"container": "nope"}, 404, "No such container: nope"), ({"container": ""}, 400, 'invalid name or ID supplied: ""'),
                                   ({"repo": "UPPER"}, 400, "repository name (library/UPPER) must be lowercase"), ({"repo": "r", "tag": "a b"}, 400, "invalid tag format"),
                                   ({"repo": "x@sha256:" + 64 * "0"}, 400, "cannot import digest reference"),
                                   *(({"changes": f"{x} y"}, 400, f"{x} is not a valid change command") for x in ("FROM", "RUN", "COPY", "ADD", "ARG", "SHELL", "MAINTAINER", "NOPE")),
                                   ({"changes": "ENV"}, 400, "ENV requires at least one argument"), ({"changes": "STOPSIGNAL odd"}, 400, "invalid signal: odd")):
            got = commit(**{"container": "settings", **query})
            equal(got[0], status, f"{query}: {got}")
            contains(got[1]["message"], why)
        equal(d.http("POST", "/commit?container=settings", b"x", {"Content-Type": "text/plain"})[::2],
              (400, b'{"message":"unsupported Content-Type header (text/plain): must be \'application/json\'"}\n'), "no JSON")
    finally:
        d.docker("rm", "-f", "settings").ok()


def test_exec_requests(w):
    """What the API says about what cannot be executed, and how the output comes."""
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "execs", "busybox", "sleep", "1000").ok()

    def post(path, body):
        status, _, data = d.http("POST", f"/v1.43{path}", json.dumps(body), {"Content-Type": "application/json"})
        return status, data

    def create(**body):
        return json.loads(post("/containers/execs/exec", {"AttachStdout": True, **body})[1])["Id"]

    try:
        status, data = post("/containers/execs/exec", {"Cmd": ["true"], "User": "ghost"})
        equal([status, json.loads(data)["message"]], [400, "unable to find user ghost: no matching entries in passwd file"], "a user who is not there")
        equal(post(f"/exec/{create(Cmd=['nope'])}/start", {"Detach": True}),
              (400, b'{"message":"OCI runtime exec failed: exec failed: unable to start container process: exec: \\"nope\\": executable file not found in $PATH"}\n'),
              "a program that is not there, detached")
        equal(post(f"/exec/{create(Cmd=['echo', 'x'])}/start", {"Tty": False}), (200, b"\x01\0\0\0\0\0\0\x02x\n"), "frames")
        equal(post(f"/exec/{create(Cmd=['echo', 'x'])}/start", {"Tty": True}), (200, b"x\n"), "as it comes: start's Tty says so")
        i = create(Cmd=["true"], Tty=True)
        for query, why in {"h=x&w=1": 'height "x": invalid syntax', "h=1": 'width "": invalid syntax', "h=-1&w=1": 'height "-1": value out of range',
                           "h=1&w=99999999999": 'width "99999999999": value out of range'}.items():
            status, data = post(f"/exec/{i}/resize?{query}", {})
            equal([status, json.loads(data)["message"]], [400, f"invalid resize {why}"], query)
        d.docker("pause", "execs").ok()
        equal(post("/containers/execs/exec", {"Cmd": ["true"]}),
              (409, b'{"message":"Container execs is paused, unpause the container before exec"}\n'), "paused")
        d.docker("unpause", "execs").ok()
    finally:
        d.docker("rm", "-f", "execs").ok()


def test_top_stats_pause(w):
    d, c = running(w, "-m", "64m", image="busybox")
    r = d.docker("top", c).ok().out
    contains(r, "PID")
    contains(r, "while :; do sleep 0.1; done")
    equal(len([x for x in d.docker("top", c, "-o", "pid,comm").ok().out.splitlines() if x.split()[1] in ("sh", "busybox")]), 1, "top with options")
    s = d.json("GET", f"/v1.43/containers/{c}/stats?stream=0")
    check(s["cpu_stats"]["cpu_usage"]["total_usage"] > s["precpu_stats"]["cpu_usage"]["total_usage"] > 0, s)
    check(s["memory_stats"]["limit"] > 0 and s["pids_stats"]["current"] >= 1 and s["networks"]["eth0"]["rx_bytes"] >= 0, s)
    one = d.json("GET", f"/v1.43/containers/{c}/stats?stream=0&one-shot=1")
    equal(one["precpu_stats"]["cpu_usage"]["total_usage"], 0, "one shot")
    contains(d.docker("stats", "--no-stream", "--format", "{{.ID}} {{.PIDs}}", c).ok().out, c[:12])
    d.docker("pause", c).ok()
    equal(d.docker("inspect", "-f", "{{.State.Status}} {{.State.Paused}}", c).ok().out, "paused true\n", "state")
    contains(d.docker("ps").ok().out, "(Paused)")
    d.docker("exec", c, "true").fails("is paused, unpause the container before exec")
    d.docker("pause", c).fails("is already paused")
    d.docker("start", c).fails("cannot start a paused container, try unpause instead")
    d.docker("rm", c).fails(f'cannot remove container "{c}": container is paused and must be unpaused first')
    status, _, body = d.http("POST", f"/v1.43/containers/{c}/attach?stream=1&stdout=1")
    equal((status, json.loads(body)["message"]), (409, f"container {c} is paused, unpause the container before attach"), "attach")
    d.docker("unpause", c).ok()
    equal(d.docker("exec", c, "echo", "on").ok().out, "on\n", "it goes on")
    d.docker("pause", c).ok()
    d.docker("stop", c).ok()
    d.docker("top", c).fails(f"container {c} is not running")
    equal(d.json("GET", f"/v1.43/containers/{c}/stats?stream=0")["cpu_stats"]["cpu_usage"]["total_usage"], 0, "stats of a stopped container")
    gone(d, c)


def test_docker_py_files(w):
    d, c = running(w)
    script = textwrap.dedent(f"""
        import docker, io, tarfile
        client = docker.from_env()
        c = client.containers.get({c!r})
        b = io.BytesIO()
        with tarfile.open(fileobj=b, mode="w") as t:
            i = tarfile.TarInfo("put")
            i.size = 4
            t.addfile(i, io.BytesIO(b"data"))
        assert c.put_archive("/tmp", b.getvalue())
        bits, stat = c.get_archive("/tmp/put")
        assert stat["name"] == "put" and stat["size"] == 4, stat
        with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as t:
            assert t.extractfile("put").read() == b"data"
        assert {{"Path": "/tmp/put", "Kind": 1}} in c.diff(), c.diff()
        image = c.commit(repository="pycommit", tag="t", message="m", author="a", changes=["ENV P=q"], conf={{"Labels": {{"x": "y"}}}})
        assert "pycommit:t" in image.tags and image.labels["x"] == "y", (image.tags, image.labels)
        assert "P=q" in image.attrs["Config"]["Env"], image.attrs
        assert client.containers.run("pycommit:t", "cat /tmp/put", remove=True) == b"data"
        assert sum(len(x) for x in c.export()) > 100000
        assert "PID" in c.top()["Titles"]
        assert c.stats(stream=False)["memory_stats"]["usage"] > 0
        assert next(c.stats(decode=True))["id"] == c.id
        client.images.remove("pycommit:t")
    """)
    run([w.clients / "venv/bin/python", "-c", script], env=d.env()).ok()
    gone(d, c)


@own
def test_no_exec_in_a_chroot(w):
    """In a chroot a runtime that joins a container is left with the root of the mount namespace: the host's."""
    place = w.folder("chroot")
    place.mkdir(exist_ok=True)

    class Inside(harness.Daemon):
        def command(self):
            inner = " ".join(shlex.quote(str(a)) for a in super().command())
            return ["unshare", "--mount", "sh", "-c", f"mount --rbind / {place} && exec chroot {place} {inner}"]

    d = Inside(w, w.folder("d"))
    w.daemons.append(d)
    c = d.docker("run", "-d", "busybox", "sleep", "600").ok().out.strip()
    d.docker("exec", c, "true").fails("no process can join a container while the daemon runs in a chroot")
    equal(d.docker("run", "--rm", "busybox", "echo", "runs").ok().out, "runs\n", "output")
    gone(d, c)
