# SPDX-License-Identifier: Apache-2.0
"""The daemon as a program: flags and files, listeners, signals, the service manager."""
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess

import harness
from harness import check, contains, equal, own, run, wait_for


def start_fails(w, *args, name="dockerd"):
    r = run([w.binary(name), *args], timeout=30)
    check(r.code != 0, f"{args}: started")
    return r


@own
def test_command_line(w):
    f = w.folder("f")
    file = f / "daemon.json"
    dockerd = w.binary("dockerd")
    file.write_text('{"debug": true, "labels": ["a=b"]}')
    r = run([dockerd, "--validate", "--config-file", file]).ok()
    equal(r.err, "configuration OK\n", "--validate")
    start_fails(w, "--validate", "--config-file", file, "--label", "c=d").fails(
        "the following directives are specified both as a flag and in the configuration file: labels: (from flag: [c=d], from file: [a=b])")
    file.write_text('{"no-such-key": 1}')
    start_fails(w, "--validate", "--config-file", file).fails("the following directives don't match any configuration option: no-such-key")
    r = start_fails(w, "--no-such-flag")
    equal((r.code, r.err), (1, "Status: unknown flag: --no-such-flag\nSee 'dockerd --help'., Code: 125\n"), "unknown flag")
    start_fails(w, "--config-file", f / "none.json").fails("no such file or directory")
    contains(run([dockerd, "--version"]).ok().out, "Docker version 29.")
    contains(run([w.binary("buildkitd"), "--version"]).ok().out, "buildkitd github.com/moby/buildkit v0.34.2")
    help_text = run([dockerd, "--help"]).ok().out
    for flag in ("--add-runtime", "--bip", "--data-root", "--insecure-registry", "--shutdown-timeout", "--validate"):
        contains(help_text, flag)


@own
def test_options_that_would_be_holes_are_refused(w):
    for args, text in (
            (("--authorization-plugin", "x"), "authorization plugins are not supported"),
            (("--userns-remap", "default"), "user namespaces are not supported"),
            (("--seccomp-profile", "/etc/profile.json"), "profiles from a file are not supported"),
            (("-H", "tcp://0.0.0.0:23750"), "served only with TLS client certificates")):
        root = w.folder("r")
        start_fails(w, "--data-root", root / "root", "--exec-root", root / "exec", "--pidfile", root / "pid", *args).fails(text)


@own
def test_defaults_of_containers(w):
    d = w.daemon("--default-ulimit", "nofile=321:654", "--default-shm-size", "8m", "--no-new-privileges", "--ip", "127.0.0.1",
                 "--seccomp-profile", "unconfined", "--default-stop-timeout", "1", "--log-opt", "max-size=1m")
    d.docker("pull", "-q", "busybox").ok()
    show = "ulimit -Sn; ulimit -Hn; df -k /dev/shm | awk 'END {print $2}'; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
    equal(d.docker("run", "--rm", "busybox", "sh", "-c", show).ok().out, "321\n654\n8192\nNoNewPrivs:\t1\nSeccomp:\t0\n", "defaults")
    r = d.docker("run", "--rm", "--ulimit", "nofile=99", "--shm-size", "4m", "--security-opt", "no-new-privileges=false",
                 "busybox", "sh", "-c", show).ok()
    equal(r.out, "99\n99\n4096\nNoNewPrivs:\t0\nSeccomp:\t0\n", "what the container says counts")
    d.docker("run", "-d", "--name", "published", "-p", "8000", "busybox", "sleep", "1000").ok()
    check(d.docker("port", "published", "8000").ok().out.startswith("127.0.0.1:"), "published at the daemon's address alone")
    equal(d.docker("inspect", "-f", "{{.HostConfig.LogConfig.Config}}", "published").ok().out, "map[max-size:1m]\n", "options of logs")
    d.docker("rm", "-f", "published").ok()


# ---- listeners -----------------------------------------------------------------------------------------------------------

def test_socket_is_not_for_all(w):
    d = w.shared()
    st = os.stat(d.socket)
    equal(oct(stat.S_IMODE(st.st_mode)), "0o660", "mode of the socket")


def ask(d, path, method="GET"):
    """A request on a connection of its own, that is open."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(d.socket))
    s.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return s


@own
def test_ping_while_the_store_opens(w):
    d = w.daemon()
    d.stop()
    other = sqlite3.connect(d.root / "minke.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")  # a stock client looks in: the daemon waits for it
    d.start()
    with ask(d, "/info") as info, ask(d, "/containers/_ping", "DELETE") as gone:
        for path in ("/_ping", "/v1.44/_ping"):
            with ask(d, path) as ping:
                contains(ping.makefile().read(), "200 OK")
        try:
            check(not info.recv(1, socket.MSG_DONTWAIT), "/info was answered without a store")
        except BlockingIOError:
            pass
        other.execute("ROLLBACK")
        contains(info.makefile().read(), '"ServerVersion"')
        contains(gone.makefile().read(), "404 Not Found")


def keys(w):
    """A CA, a server's and a client's certificate; and a client's that nobody signed."""
    f = w.folder("tls")
    script = """
    set -e
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca.pem
    printf 'subjectAltName=IP:127.0.0.1\\n' > san
    for n in server client; do
        mkdir -p $n; cp ca.pem $n
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$n -keyout $n/key.pem -out $n.csr
        openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile san -out $n/cert.pem
    done
    mkdir stranger; cp ca.pem stranger
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x -keyout stranger/key.pem -out stranger/cert.pem
    """
    subprocess.run(["sh", "-c", script], cwd=f, check=True, capture_output=True)
    return f


@own
def test_tls_asks_for_a_certificate(w):
    f, port = keys(w), harness.free_port()
    d = w.daemon("-H", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", f / "server/ca.pem", "--tlscert", f / "server/cert.pem",
                 "--tlskey", f / "server/key.pem")

    def docker(*args, who="client", verify="1"):
        return d.docker(*args, env={"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_TLS_VERIFY": verify, "DOCKER_CERT_PATH": str(f / who)})
    equal(docker("version", "-f", "{{.Server.Os}}").ok().out, "linux\n", "with a certificate")
    docker("build", "-q", w.context("FROM busybox\nRUN echo over tls > /x\n")).ok()
    docker("version", who="stranger").fails("tls")
    d.docker("version", env={"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).fails("Client sent an HTTP request to an HTTPS server.")
    d.alive()


@own
def test_plain_tcp_at_home(w):
    port = harness.free_port()
    d = w.daemon("-H", f"tcp://127.0.0.1:{port}")
    equal(d.docker("version", "-f", "{{.Server.Os}}", env={"DOCKER_HOST": f"tcp://127.0.0.1:{port}"}).ok().out, "linux\n", "over tcp")


class Manager:
    """A service manager: one listening socket to pass on, one socket to be told on."""

    def __init__(self, w):
        self.folder = w.folder("m")
        self.path, self.notify_path = str(self.folder / "listen"), str(self.folder / "notify")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(10)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        self.notify.settimeout(30)
        command = ["bash", "-c", 'exec 3<&"$FD"; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"', "bash", w.binary("dockerd"), "-H", "fd://",
                   "--data-root", self.folder / "root", "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid", "--config-file",
                   self.config()]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(a) for a in command], pass_fds=[self.listener.fileno()], stdout=self.log, stderr=self.log,
                                        env={**os.environ, "FD": str(self.listener.fileno()), "NOTIFY_SOCKET": self.notify_path})

    def config(self, **keys):
        file = self.folder / "daemon.json"
        file.write_text(json.dumps(keys))
        return file

    def told(self):
        return self.notify.recv(1000).decode()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


@own
def test_service_manager(w):
    m = Manager(w)
    try:
        equal(m.told(), "READY=1", "after the start")
        docker = [w.clients / "bin/docker", "-H", f"unix://{m.path}"]
        equal(run([*docker, "version", "-f", "{{.Server.Os}}"]).ok().out, "linux\n", "over the socket that was passed")
        m.config(labels=["reloaded=yes"])
        m.process.send_signal(signal.SIGHUP)
        contains(m.told(), "RELOADING=1\nMONOTONIC_USEC=")
        equal(m.told(), "READY=1", "after the reload")
        equal(run([*docker, "info", "-f", "{{.Labels}}"]).ok().out, "[reloaded=yes]\n", "labels")
        m.process.terminate()
        equal(m.told(), "STOPPING=1", "at the end")
        equal(m.process.wait(30), 0, "exit status")
        check(os.path.exists(m.path), "the manager's socket stays")
    finally:
        m.stop()


# ---- signals -------------------------------------------------------------------------------------------------------------

def set_file(d, keys):
    (d.folder / "daemon.json").write_text(json.dumps(keys))


@own
def test_reload(w):
    d = harness.Daemon(w, w.folder("d"), config={"registry-mirrors": ["http://127.0.0.1:1"], "labels": ["a=1"]})
    w.daemons.append(d)
    events = d.spawn(w.clients / "bin/docker", "events", "--filter", "type=daemon", "--format", "{{.Action}} {{.Actor.Attributes.labels}}")
    d.docker("pull", "-q", "busybox").fails("")
    equal(d.docker("info", "-f", "{{.Labels}} {{.RegistryConfig.Mirrors}}").ok().out, "[a=1] [http://127.0.0.1:1/]\n", "at first")
    set_file(d, {"registry-mirrors": [f"http://{w.registry.host}"], "labels": ["a=2", "b=3"], "insecure-registries": ["r.example:5000"],
                 "default-shm-size": "16m", "features": {"buildkit": False}})
    d.process.send_signal(signal.SIGHUP)
    equal(events.stdout.readline().decode(), 'reload ["a=2","b=3"]\n', "the event")
    events.kill()
    events.wait()
    info = json.loads(d.docker("info", "-f", "{{json .}}").ok().out)
    equal(info["Labels"], ["a=2", "b=3"], "labels")
    equal(info["RegistryConfig"]["Mirrors"], [f"http://{w.registry.host}/"], "mirrors")
    check("r.example:5000" in info["RegistryConfig"]["IndexConfigs"], "an insecure registry")
    equal(d.http("GET", "/_ping")[1]["builder-version"], "1", "a feature")
    d.docker("pull", "-q", "busybox").ok()
    equal(d.docker("run", "--rm", "busybox", "sh", "-c", "df -k /dev/shm | awk 'END {print $2}'").ok().out, "16384\n", "size of shm")
    set_file(d, {"labels": "wrong"})
    d.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "Error reloading configuration" in d.text_log(), "the complaint")
    equal(d.docker("info", "-f", "{{.Labels}}").ok().out, "[a=2 b=3]\n", "a wrong file changes nothing")


@own
def test_second_signal_cuts_short(w):
    d = w.daemon("--shutdown-timeout", "3600")
    p = d.spawn(w.clients / "bin/docker", "build", "--progress=plain", w.context("FROM busybox\nRUN sh -c 'echo MARK-two; sleep 3599; true'\n"))
    for line in p.stdout:
        if line.rstrip().endswith(b" MARK-two"):
            break
    d.process.terminate()
    wait_for(lambda: "Processing signal" in d.text_log(), "the first signal")
    check(d.process.poll() is None, "waits for the build")
    wait_for(lambda: not os.path.exists(d.socket), "no more connections")
    d.process.terminate()
    equal(d.process.wait(30), 0, "exit status")
    p.communicate()
    check(p.returncode != 0, "the build failed")


@own
def test_tasks_are_shown(w):
    d = w.daemon()
    e = d.spawn(w.clients / "bin/docker", "events")
    wait_for(lambda: (d.process.send_signal(signal.SIGUSR1), "task=connection" in d.text_log())[1], "the tasks in the log")
    line = next(x for x in d.text_log().splitlines() if "task=signals" in x)
    for part in ("age=", "state=", "group=main", 'waiting="a signal"'):
        contains(line, part)
    e.kill()
    e.wait()


@own
def test_store_is_synced(w):
    """What was built outlives a power cut soon after: its rows say that the disk has it."""
    d = w.daemon()
    d.docker("buildx", "build", "-t", "kept", str(w.context("FROM busybox\nRUN echo kept > /kept\n"))).ok()
    con = sqlite3.connect(d.root / "minke.db", isolation_level=None)
    layers = con.execute("select count(*) from layers").fetchone()[0]
    equal(layers > 0, True, "layers")
    waiting = "select (select count(*) from layers where synced = 0) + (select count(*) from blobs where layer is null and synced = 0)"
    wait_for(lambda: con.execute(waiting).fetchone()[0] == 0, "all that is published is on disk", 60)
    con.close()
