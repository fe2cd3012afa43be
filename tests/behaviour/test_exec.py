# SPDX-License-Identifier: Apache-2.0
"""What is done to and with a container that exists: exec, cp, commit, export, diff, top, stats; with the docker CLIs, docker-py and plain HTTP."""
import json
import os
import pty
import select
import subprocess
import textwrap
import time
import urllib.parse

from harness import check, contains, equal, run, wait_for


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
    status, _, body = d.http("POST", f"/v1.43/exec/{x}/start", b"{}", {"Content-Type": "application/json"})
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
