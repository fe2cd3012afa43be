# SPDX-License-Identifier: Apache-2.0
"""docker run and what belongs to it, with the docker CLI, Debian's old one, docker-py and plain HTTP."""
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import textwrap
import time
import urllib.parse

from harness import Failure, check, contains, equal, own, wait_for


def image(w):
    d = w.shared()
    d.docker("pull", "-q", "busybox").ok()
    return d


def test_run_output_and_exit_code(w):
    d = image(w)
    r = d.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    equal((r.code, r.out, r.err), (7, "out\n", "err\n"), "run")
    equal(d.docker("run", "--rm", "-i", "busybox", "cat", stdin=b"through stdin\n").ok().out, "through stdin\n", "stdin")
    equal(d.docker("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?").code, 143, "signal")


def test_programs_that_cannot_run(w):
    d = image(w)
    r = d.docker("run", "--rm", "busybox", "no-such-program")
    equal(r.code, 127, "exit code")
    contains(r.err, 'exec: "no-such-program": executable file not found in $PATH')
    equal(d.docker("run", "--rm", "busybox", "/etc/passwd").code, 126, "exit code of a file that is no program")
    d.docker("run", "--rm", "no-such-image-anywhere").fails("Unable to find image 'no-such-image-anywhere:latest' locally")


def test_old_client(w):
    d = image(w)
    r = d.docker20("run", "--rm", "busybox", "sh", "-c", "echo old; exit 3")
    equal((r.code, r.out), (3, "old\n"), "run")
    name = d.docker20("run", "-d", "busybox", "sleep", "1000").ok().out.strip()
    contains(d.docker20("ps").ok().out, name[:12])
    d.docker20("rm", "-f", name).ok()


def test_settings(w):
    d = image(w)
    shared = w.folder("shared")
    (shared / "file").write_text("from the host\n")
    script = ("hostname; cat /proc/sys/kernel/domainname; id -u; id -g; pwd; echo $A; cat /data/file; "
              "touch /data/x 2>/dev/null || echo read-only mount; touch /x 2>/dev/null || echo read-only root; touch /scratch/x && echo tmpfs; ulimit -n; grep -c 10.9.8.7 /etc/hosts")
    r = d.docker("run", "--rm", "--hostname", "box", "--domainname", "d.example", "--user", "1000:100", "--workdir", "/tmp", "-e", "A=b",
                 "-v", f"{shared}:/data:ro", "--read-only", "--tmpfs", "/scratch", "--ulimit", "nofile=99:99", "--add-host", "x.example:10.9.8.7",
                 "busybox", "sh", "-c", script).ok()
    equal(r.out, "box\nd.example\n1000\n100\n/tmp\nb\nfrom the host\nread-only mount\nread-only root\ntmpfs\n99\n1\n", "output")
    r = d.docker("run", "--rm", "--mount", f"type=bind,source={shared},target=/m", "busybox", "sh", "-c", "echo new >/m/new").ok()
    equal((shared / "new").read_text(), "new\n", "file written through the mount")


def test_sandbox(w):
    d = image(w)
    r = d.docker("run", "--rm", "busybox", "sh", "-c", "grep -E '^(CapInh|CapEff|Seccomp|NoNewPrivs):' /proc/self/status; ls /proc/self/fd | wc -l").ok()
    equal(r.out, "CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n4\n", "status")
    r = d.docker("run", "--rm", "--cap-drop=ALL", "--cap-add=CHOWN", "--security-opt", "no-new-privileges", "busybox", "sh", "-c",
                 "grep -E '^(CapEff|NoNewPrivs):' /proc/self/status").ok()
    equal(r.out, "CapEff:\t0000000000000001\nNoNewPrivs:\t1\n", "status")
    r = d.docker("run", "--rm", "--privileged", "busybox", "sh", "-c", "mount -t tmpfs x /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs x /mnt && echo mounted").ok()
    contains(r.out, "mounted")


def test_image_config(w):
    d = image(w)
    d.docker("pull", "-q", "rich").ok()
    equal(d.docker("run", "--rm", "rich").ok().out, "hi\n", "entrypoint and command")
    equal(d.docker("run", "--rm", "rich", "id -u; pwd; echo $RICH; ls /data").ok().out, "1000\n/app\nyes\n", "settings of the image")
    equal(d.docker("run", "--rm", "--entrypoint", "pwd", "-w", "/", "rich").ok().out, "/\n", "own entrypoint")
    name = d.docker("create", "rich").ok().out.strip()
    j = json.loads(d.docker("inspect", name).ok().out)[0]
    equal(j["Config"]["Labels"], {"base": "rich"}, "labels")
    equal(j["Config"]["StopSignal"], "SIGINT", "stop signal")
    equal((j["Path"], j["Args"]), ("/bin/sh", ["-c", "echo hi"]), "command")
    equal(j["State"]["Status"], "created", "state")
    d.docker("rm", name).ok()


def test_logs(w):
    d = image(w)
    name = d.docker("run", "-d", "busybox", "sh", "-c", "for i in 1 2 3; do echo line $i; done; echo problem >&2; exec sleep 1000").ok().out.strip()
    wait_for(lambda: "problem" in d.docker("logs", name).err, "output")
    r = d.docker("logs", name).ok()
    equal((r.out, r.err), ("line 1\nline 2\nline 3\n", "problem\n"), "logs")
    stamp = d.docker("logs", "-t", name).ok().out.split()[0]
    check(len(stamp) == len("2026-01-02T03:04:05.123456789Z") and stamp.endswith("Z"), stamp)
    equal(d.docker("logs", "--since", "2030-01-01T00:00:00Z", name).ok().out, "", "logs of the future")
    follower = d.spawn(w.clients / "bin/docker", "logs", "-f", name)
    d.docker("kill", name).ok()
    out, _ = follower.communicate(timeout=30)
    contains(out.decode(), "line 3")
    d.docker("rm", name).ok()


def test_log_rotation(w):
    d = image(w)
    name = d.docker("run", "-d", "--log-opt", "max-size=10k", "--log-opt", "max-file=2", "busybox", "seq", "1", "2000").ok().out.strip()
    d.docker("wait", name).ok()
    equal(d.docker("logs", "--tail", "2", name).ok().out, "1999\n2000\n", "the end of the log")
    path = json.loads(d.docker("inspect", name).ok().out)[0]["LogPath"]
    check(os.path.getsize(path) <= 11 * 1024 and os.path.exists(path + ".1") and not os.path.exists(path + ".2"), "rotated files")
    d.docker("rm", name).ok()


def test_stop_kill_wait(w):
    d = image(w)
    trap = "trap 'exit 9' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.02; done"
    ready = lambda n: wait_for(lambda: "ready" in d.docker("logs", n).out, "the container")  # noqa: E731
    d.docker("run", "-d", "--name", "stopped", "busybox", "sh", "-c", trap).ok()
    ready("stopped")
    d.docker("stop", "stopped").ok()
    equal(d.docker("wait", "stopped").ok().out, "9\n", "exit code after stop")
    d.docker("start", "stopped").ok()
    wait_for(lambda: d.docker("logs", "stopped").out.count("ready") == 2, "the second start")
    d.docker("kill", "-s", "USR1", "stopped").ok()
    equal(d.docker("wait", "stopped").ok().out, "8\n", "exit code after a signal")
    status, _, _ = d.http("POST", "/v1.44/containers/stopped/stop")
    equal(status, 304, "stop of a stopped one")
    status, _, body = d.http("POST", "/v1.44/containers/stopped/kill")
    equal(status, 409, "kill of a stopped one")
    contains(body.decode(), "is not running")
    d.docker("start", "stopped").ok()
    status, _, _ = d.http("POST", "/v1.44/containers/stopped/start")
    equal(status, 304, "start of a running one")
    d.docker("rm", "stopped").fails("container is running: stop the container before removing or force remove")
    d.docker("rm", "-f", "stopped").ok()
    d.docker("inspect", "stopped").fails("No such object: stopped")


def test_names(w):
    d = image(w)
    d.docker("create", "--name", "taken", "busybox").ok()
    d.docker("create", "--name", "taken", "busybox").fails('The container name "/taken" is already in use by container')
    d.docker("create", "--name", "not good", "busybox").fails("Invalid container name (not good)")
    d.docker("rename", "taken", "given").ok()
    d.docker("inspect", "given").ok()
    d.docker("rm", "given").ok()
    d.docker("start", "given").fails("No such container: given")


def test_list_and_prune(w):
    d = w.daemon()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "up", "--label", "k=v", "busybox", "sleep", "1000").ok()
    equal(d.docker("run", "--name", "ended", "busybox", "sh", "-c", "exit 4").code, 4, "exit code")
    d.docker("create", "--name", "fresh", "busybox").ok()
    names = lambda *a: d.docker("ps", "--format", "{{.Names}}", *a).ok().out.split()  # noqa: E731
    equal(names(), ["up"], "running")
    equal(names("-a"), ["fresh", "ended", "up"], "all, newest first")
    equal(names("--filter", "label=k=v"), ["up"], "by label")
    equal(names("-a", "--filter", "status=exited", "--filter", "exited=4"), ["ended"], "by exit code")
    equal(names("-a", "--filter", "ancestor=busybox", "--filter", "name=^up$"), ["up"], "by name")
    equal(names("-n", "2"), ["fresh", "ended"], "the last two")
    contains(d.docker("ps", "-a", "--format", "{{.Names}}={{.Status}}").ok().out, "ended=Exited (4)")
    contains(d.docker("ps", "-a", "--format", "{{.Names}}={{.Status}}").ok().out, "fresh=Created")
    d.docker("container", "prune", "-f").ok()
    equal(names("-a"), ["up"], "after prune")
    d.docker("rmi", "-f", "busybox")
    contains(d.docker("ps", "--format", "{{.Names}}").ok().out, "up")


def test_inspect_shape(w):
    d = image(w)
    d.docker("run", "-d", "--name", "shape", "-m", "64m", "--cpus", "0.5", "-p", "80", "busybox", "sleep", "1000").ok()
    new, old = d.json("GET", "/v1.52/containers/shape/json"), d.json("GET", "/v1.40/containers/shape/json")
    check(new["State"]["Running"] and new["State"]["Pid"] > 0, "state")
    equal((new["HostConfig"]["Memory"], new["HostConfig"]["NanoCpus"]), (64 << 20, 500000000), "limits")
    equal(new["HostConfig"]["RestartPolicy"], {"Name": "no", "MaximumRetryCount": 0}, "restart policy")
    address = new["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    check(address.count(".") == 3, "address")
    check("IPAddress" not in new["NetworkSettings"], "old fields in a new version")
    equal(old["NetworkSettings"]["IPAddress"], address, "address for old clients")
    check("GraphDriver" in old and "Storage" in new, "storage")
    check(new["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "published port")
    for key in ("StartedAt", "FinishedAt"):
        check(new["State"][key].endswith("Z") and "T" in new["State"][key], key)
    equal(new["State"]["FinishedAt"], "0001-01-01T00:00:00Z", "not ended yet")
    d.docker("rm", "-f", "shape").ok()


def test_published_port(w):
    d = image(w)
    d.docker("run", "-d", "--name", "web", "-p", "127.0.0.1::8000", "busybox", "sh", "-c",
             "mkdir /w; echo served >/w/index.html; httpd -f -p 8000 -h /w").ok()
    port = int(d.docker("port", "web", "8000").ok().out.rsplit(":", 1)[1])

    def fetch():
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: s.recv(4096), b"")).decode()
        except OSError:
            return ""
    contains(wait_for(fetch, "an answer from the container"), "served")
    d.docker("run", "--rm", "-p", f"127.0.0.1:{port}:1", "busybox", "true").fails("failed to set up container networking", f"Bind for 127.0.0.1:{port} failed: port is already allocated")
    d.docker("rm", "-f", "web").ok()


def test_networks(w):
    d = image(w)
    r = d.docker("run", "--rm", "busybox", "sh", "-c", "ip -o -4 addr show eth0 | grep -c inet; ip route | grep -c ^default").ok()
    equal(r.out, "1\n1\n", "an address and a way out")
    equal(d.docker("run", "--rm", "--network", "none", "busybox", "sh", "-c", "ip -o link | wc -l").ok().out, "1\n", "only loopback")
    d.docker("run", "--rm", "--network", "host", "busybox", "true").ok()


def test_memory_limit(w):
    d = image(w)
    r = d.docker("run", "--name", "hog", "-m", "16m", "busybox", "sh", "-c", "head -c 100m /dev/zero | tail -c 80m | wc -c; exit 0")
    equal(d.docker("inspect", "-f", "{{.State.OOMKilled}}", "hog").ok().out, "true\n", f"killed for memory ({r.code})")
    d.docker("rm", "hog").ok()
    d.docker("run", "--rm", "-m", "1m", "busybox", "true").fails("Minimum memory limit allowed is 6MB")


def terminal(args, env, steps):
    """Run a client on a terminal; steps: (wait for this, then type that). -> all that it showed, exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(args[0], [str(a) for a in args], env)
    shown = b""
    steps = list(steps)
    while True:
        if not select.select([fd], [], [], 60)[0]:
            raise Failure(f"the terminal is silent: {shown!r}")
        try:
            data = os.read(fd, 4096)
        except OSError:
            data = b""
        if not data:
            break
        shown += data
        while steps and steps[0][0] in shown:
            os.write(fd, steps.pop(0)[1])
    return shown.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_terminal(w):
    d = image(w)
    out, code = terminal([str(w.clients / "bin/docker"), "run", "--rm", "-it", "busybox"], d.env(TERM="xterm"),
                         [(b"# ", b"tty; exit 5\n")])
    contains(out, "/dev/pts/0")
    equal(code, 5, "exit code")


def test_detach_and_attach(w):
    d = image(w)
    docker = str(w.clients / "bin/docker")
    out, code = terminal([docker, "run", "-it", "--name", "kept", "busybox"], d.env(TERM="xterm"), [(b"# ", b"echo one\n"), (b"one\r\n", b"\x10\x11")])
    equal(code, 0, f"exit code after detaching: {out!r}")
    equal(d.docker("inspect", "-f", "{{.State.Running}}", "kept").ok().out, "true\n", "still running")
    out, code = terminal([docker, "attach", "kept"], d.env(TERM="xterm"), [(b"", b"\n"), (b"# ", b"exit 6\n")])
    equal(code, 6, f"exit code after attaching: {out!r}")
    d.docker("rm", "kept").ok()


def test_events(w):
    d = w.daemon()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "--name", "seen", "busybox", "sh", "-c", "exit 2")
    d.docker("rm", "seen").ok()
    filters = urllib.parse.quote(json.dumps({"container": ["seen"], "type": ["container"]}))
    _, _, body = d.http("GET", f"/v1.44/events?since=1&until={time.time() + 0.2:.6f}&filters={filters}")
    seen = [json.loads(line) for line in body.decode().splitlines()]
    equal([e["Action"] for e in seen], ["create", "attach", "start", "die", "destroy"], "events")
    equal(seen[3]["Actor"]["Attributes"], {"exitCode": "2", "image": "busybox", "name": "seen", "execDuration": "0"}, "attributes of the end")


def test_daemon_stops(w):
    d = w.daemon()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "polite", "busybox", "sh", "-c", "echo first; trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done").ok()
    wait_for(lambda: "ready" in d.docker("logs", "polite").out, "the container")
    d.stop()
    d.start()
    equal(d.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "polite").ok().out, "exited 3\n", "after the daemon's end")
    equal(d.docker("logs", "polite").ok().out, "first\nready\n", "logs")
    d.docker("start", "polite").ok()
    d.docker("rm", "-f", "polite").ok()


@own
def test_daemon_is_killed(w):
    d = w.daemon()
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "orphan", "busybox", "sleep", "54399").ok()
    d.docker("run", "-d", "--rm", "--name", "passing", "busybox", "sleep", "54399").ok()
    d.docker("create", "--name", "fresh", "busybox", "sh", "-c", "echo later").ok()
    d.kill()
    d.start()
    equal(d.docker("ps", "-a", "--format", "{{.Names}} {{.State}}").ok().out, "fresh created\norphan exited\n", "after a kill")
    equal(d.docker("inspect", "-f", "{{.State.ExitCode}}", "orphan").ok().out, "137\n", "exit code")
    wait_for(lambda: subprocess.run(["pgrep", "-f", "sleep 54399"], capture_output=True).returncode != 0, "the end of its processes")
    equal(d.docker("start", "-a", "fresh").ok().out, "later\n", "a container from before")


def test_changes_stay(w):
    d = image(w)
    d.docker("run", "--name", "counter", "busybox", "sh", "-c", "echo x >>/n; wc -l </n").ok()
    equal(d.docker("start", "-a", "counter").ok().out, "2\n", "second run")
    d.docker("rm", "counter").ok()


@own
def test_what_comes_later_is_named(w):
    d = image(w)
    d.docker("run", "--rm", "-v", "named:/x", "busybox", "true").fails("named volumes are not supported yet: named")
    d.docker("run", "--rm", "--network", "mine", "busybox", "true").fails("user-defined networks are not supported yet: mine")


def test_refusals(w):
    d = image(w)
    d.docker("run", "--rm", "--mount", "type=bind,source=/does/not/exist,target=/x", "busybox", "true").fails(
        "bind source path does not exist: /does/not/exist")
    d.docker("run", "--rm", "-w", "relative", "busybox", "true").fails("the working directory 'relative' is invalid, it needs to be an absolute path")
    d.docker("run", "--rm", "-u", "nosuchuser", "busybox", "true").fails("unable to find user nosuchuser: no matching entries in passwd file")
    status, _, body = d.http("POST", "/v1.44/containers/create", b'{"Image":"busybox","Cmd":5}', {"Content-Type": "application/json"})
    equal(status, 400, "a wrong type")
    status, _, body = d.http("GET", "/v1.44/containers/json?filters=" + "%7B%22nope%22%3A%5B%22x%22%5D%7D")
    equal(status, 400, "an unknown filter")
    contains(body.decode(), "invalid filter")


def test_docker_py(w):
    d = image(w)
    script = textwrap.dedent("""
        import docker
        c = docker.from_env()
        assert c.containers.run('busybox', 'echo hi', remove=True) == b'hi\\n'
        try:
            c.containers.run('busybox', ['sh', '-c', 'echo bad >&2; exit 3'], remove=True)
            raise SystemExit('no error')
        except docker.errors.ContainerError as e:
            assert (e.exit_status, e.stderr) == (3, b'bad\\n'), e
        k = c.containers.run('busybox', ['sh', '-c', 'while :; do echo tick; sleep 0.05; done'], detach=True, labels={'py': '1'},
                             mem_limit='64m', environment={'A': 'b'}, ports={'80/tcp': None}, tmpfs={'/t': ''})
        lines = k.logs(stream=True, follow=True)
        assert next(lines) == b'tick\\n'
        k.reload()
        assert k.status == 'running' and '80/tcp' in k.ports, k.attrs
        assert [x.id for x in c.containers.list(filters={'label': 'py=1'})] == [k.id]
        k.restart(timeout=0)
        k.stop(timeout=0)
        assert k.wait()['StatusCode'] == 137
        k.remove()
        s = c.containers.create('busybox', 'cat', stdin_open=True)
        sock = s.attach_socket(params={'stdin': 1, 'stdout': 1, 'stderr': 1, 'stream': 1})
        s.start()
        sock._sock.sendall(b'ping\\n')
        assert sock._sock.recv(100) == b'\\x01\\0\\0\\0\\0\\0\\0\\x05ping\\n'
        s.remove(force=True)
        print('fine')
    """)
    p = subprocess.run([w.clients / "venv/bin/python", "-c", script], env=d.env(), capture_output=True, timeout=120)
    equal(p.stdout.decode().strip(), "fine", p.stderr.decode()[-2000:])


def state(d, name):
    s = d.json("GET", f"/v1.44/containers/{name}/json")
    return s["State"]["Status"], s["RestartCount"]


def test_restart_policies(w):
    d = image(w)
    d.docker("run", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3").ok()
    wait_for(lambda: state(d, "failing") == ("exited", 2), "the last attempt")
    equal(d.docker("logs", "failing").ok().out, "run\n" * 3, "runs")
    equal(d.docker("inspect", "-f", "{{.State.ExitCode}}", "failing").ok().out, "3\n", "exit code")
    d.docker("run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true").ok()
    wait_for(lambda: state(d, "fine") == ("exited", 0), "one that does not fail")
    d.docker("run", "-d", "--name", "always", "--restart", "always", "busybox", "true").ok()
    wait_for(lambda: state(d, "always")[1] >= 2, "two restarts")
    wait_for(lambda: "Restarting (0)" in d.docker("ps", "-a", "--filter", "name=always").ok().out, "it is shown as restarting")
    d.docker("stop", "always").ok()
    equal(state(d, "always")[0], "exited", "stopped")
    d.docker("start", "always").ok()
    d.docker("rm", "-f", "always").ok()
    d.docker("run", "-d", "--name", "killed", "--restart", "unless-stopped", "busybox", "sleep", "1000").ok()
    d.docker("kill", "killed").ok()
    wait_for(lambda: state(d, "killed")[0] == "exited", "killed by the user")
    d.docker("run", "-d", "--name", "asked", "--restart", "always", "busybox", "false").ok()
    wait_for(lambda: state(d, "asked")[0] == "restarting" and state(d, "asked")[1] >= 4, "a longer wait")
    d.docker("kill", "-s", "TERM", "asked").ok()
    wait_for(lambda: state(d, "asked")[0] == "exited", "called off by a signal")
    d.docker("rm", "asked").ok()
    # any signal is taken for the one that ends it, unless the configuration names that
    survivor = ["busybox", "sh", "-c", "trap 'exit 7' USR1; trap 'echo heard' HUP; while :; do sleep 0.1; done"]
    d.docker("run", "-d", "--name", "any", "--restart", "always", *survivor).ok()
    d.docker("kill", "-s", "USR1", "any").ok()
    wait_for(lambda: state(d, "any")[0] == "exited", "called off by any signal")
    equal(state(d, "any")[1], 0, "restarts")
    for policy, back in (("always", True), ("unless-stopped", False)):
        d.docker("run", "-d", "--name", policy, "--restart", policy, "--stop-signal", "QUIT", *survivor).ok()
        d.docker("kill", "-s", "HUP", policy).ok()
        wait_for(lambda: "heard" in d.docker("logs", policy).ok().out, "the signal is heard")
        d.docker("exec", policy, "kill", "-USR1", "1").ok()
        if back:
            wait_for(lambda: state(d, policy)[1] >= 1, "it comes back")
        else:
            wait_for(lambda: state(d, policy)[0] == "exited", "it does not come back")
        d.docker("rm", "-f", policy).ok()
    d.docker("rm", "any").ok()
    d.docker("run", "-d", "--restart", "always", "--rm", "busybox", "true").fails("")
    d.docker("run", "-d", "--restart", "often", "busybox", "true").fails("invalid restart policy: unknown policy 'often'")
    d.docker("rm", "-f", "failing", "fine", "killed").ok()


def test_restart_with_the_daemon(w):
    d = w.daemon()
    d.docker("pull", "-q", "busybox").ok()
    for name, policy in (("aa", "always"), ("uu", "unless-stopped"), ("ss", "unless-stopped"), ("nn", "no")):
        d.docker("run", "-d", "--name", name, "--restart", policy, "--stop-timeout", "0", "busybox", "sleep", "1000").ok()
    d.docker("stop", "-t", "0", "ss").ok()
    d.stop()
    d.start()
    wait_for(lambda: (state(d, "aa")[0], state(d, "uu")[0]) == ("running", "running"), "those that come back")
    equal((state(d, "ss")[0], state(d, "nn")[0]), ("exited", "exited"), "those that do not")
    d.docker("rm", "-f", "aa", "uu", "ss", "nn").ok()


def health(d, name):
    return d.json("GET", f"/v1.44/containers/{name}/json")["State"].get("Health", {})


def test_health_checks(w):
    d = image(w)
    options = ["--health-interval", "100ms", "--health-retries", "2", "--health-timeout", "5s"]
    d.docker("run", "-d", "--name", "checked", *options, "--health-cmd", "cat /state", "busybox", "sh", "-c", "echo well > /state; sleep 1000").ok()
    wait_for(lambda: health(d, "checked")["Status"] == "healthy", "healthy")
    contains(d.docker("ps", "--filter", "health=healthy").ok().out, "(healthy)")
    equal(health(d, "checked")["Log"][-1]["Output"], "well\n", "output")
    d.docker("exec", "checked", "rm", "/state").ok()
    wait_for(lambda: health(d, "checked")["Status"] == "unhealthy", "unhealthy")
    h = health(d, "checked")
    check(h["FailingStreak"] >= 2 and h["Log"][-1]["ExitCode"] == 1 and len(h["Log"]) <= 5, h)
    d.docker("exec", "checked", "touch", "/state").ok()
    wait_for(lambda: health(d, "checked")["Status"] == "healthy", "healthy again")
    d.docker("run", "-d", "--name", "slow", "--health-interval", "100ms", "--health-retries", "1", "--health-timeout", "200ms", "--health-cmd", "sleep 100",
             "busybox", "sleep", "1000").ok()
    wait_for(lambda: health(d, "slow")["Status"] == "unhealthy", "a check that takes too long")
    contains(health(d, "slow")["Log"][-1]["Output"], "Health check exceeded timeout (200ms)")
    filters = urllib.parse.quote(json.dumps({"container": ["checked"]}))
    _, _, body = d.http("GET", f"/v1.44/events?since=1&until={time.time() + 0.2:.6f}&filters={filters}")
    seen = [json.loads(line) for line in body.decode().splitlines()]
    seen = [" ".join((e["Action"], e["Actor"]["Attributes"].get("exitCode", ""))).strip() for e in seen]
    for event in ("exec_create: /bin/sh -c cat /state", "exec_start: /bin/sh -c cat /state", "exec_die 0", "exec_die 1"):
        check(event in seen, f"{event} is not in {seen}")
    d.docker("run", "-d", "--name", "unchecked", "--no-healthcheck", "busybox", "sleep", "1000").ok()
    equal(health(d, "unchecked"), {}, "without a check")
    d.docker("rm", "-f", "checked", "slow", "unchecked").ok()


def test_health_of_a_paused_container(w):
    d = image(w)
    d.docker("run", "-d", "--name", "held", "--health-interval", "100ms", "--health-retries", "1", "--health-cmd", "false", "busybox", "sleep", "1000").ok()
    wait_for(lambda: health(d, "held")["Status"] == "unhealthy", "unhealthy")
    d.docker("pause", "held").ok()
    before = health(d, "held")
    other = d.docker("run", "-d", "--health-interval", "100ms", "--health-cmd", "true", "busybox", "sleep", "1000").ok().out.strip()
    wait_for(lambda: len(health(d, other)["Log"]) == 5, "the time of five checks")
    equal(health(d, "held"), before, "nothing is checked, and nothing is well")
    d.docker("rm", "-f", "held", other).ok()


def test_health_check_of_the_image(w):
    """What the user does not say of it is the image's."""
    d = image(w)
    d.docker("build", "-t", "with-check", "-", stdin=b"FROM busybox\nHEALTHCHECK --retries=7 --timeout=9s CMD echo from the image\nCMD sleep 1000\n").ok()
    d.docker("run", "-d", "--name", "merged", "--health-interval", "100ms", "with-check").ok()
    h = d.json("GET", "/v1.44/containers/merged/json")["Config"]["Healthcheck"]
    equal(h, {"Test": ["CMD-SHELL", "echo from the image"], "Interval": 100000000, "Timeout": 9000000000, "Retries": 7}, "merged")
    wait_for(lambda: health(d, "merged")["Status"] == "healthy", "healthy")
    for field, text in (({"Interval": 5}, "Interval in Healthcheck cannot be less than 1ms"), ({"Retries": -1}, "Retries in Healthcheck cannot be negative")):
        status, _, body = d.http("POST", "/v1.44/containers/create", json.dumps({"Image": "busybox", "Healthcheck": field}).encode(), {"Content-Type": "application/json"})
        equal((status, json.loads(body)["message"]), (400, text), "refused")
    d.docker("rm", "-f", "merged").ok()
    d.docker("rmi", "with-check").ok()


@own
def test_log_on_a_full_disk(w):
    """It costs the log, not the container."""
    d = image(w)
    c = d.docker("create", "busybox", "sh", "-c", "for i in $(seq 20000); do echo $i || exit 1; done").ok().out.strip()
    log = d.root / "containers" / c / f"{c}-json.log"
    log.symlink_to("/dev/full")
    equal(d.docker("start", "-a", c).ok().out.split(), [str(i) for i in range(1, 20001)], "all that it says")
    equal(d.docker("inspect", "-f", "{{.State.ExitCode}}", c).ok().out, "0\n", "exit code")
    contains(d.text_log(), "cannot write a container's log")
    d.docker("rm", c).ok()


@own
def test_removal_whose_files_are_gone(w):
    d = image(w)
    c = d.docker("create", "busybox", "true").ok().out.strip()
    shutil.rmtree(d.root / "containers" / c)
    d.docker("rm", c).ok()
    equal(d.docker("ps", "-aq", "--filter", f"id={c}").ok().out, "", "removed")


def test_daemon_waits_for_its_containers(w):
    """The daemon's end gives each container the time that it has to stop, whatever its own timeout."""
    d = w.daemon("--shutdown-timeout", "1")
    d.docker("pull", "-q", "busybox").ok()
    d.docker("run", "-d", "--name", "slow", "--stop-timeout", "20", "busybox", "sh", "-c", "trap 'sleep 3; exit 5' TERM; echo ready; while :; do sleep 0.02; done").ok()
    wait_for(lambda: "ready" in d.docker("logs", "slow").out, "the container")
    d.stop()
    d.start()
    equal(d.docker("inspect", "-f", "{{.State.ExitCode}}", "slow").ok().out, "5\n", "it ended by itself")
    d.docker("rm", "slow").ok()
