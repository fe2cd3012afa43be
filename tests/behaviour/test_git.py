# SPDX-License-Identifier: Apache-2.0
"""Git sources: a real git behind a web server that wants credentials, and behind a real sshd."""
import base64
import contextlib
import getpass
import http.server
import json
import os
import shutil
import subprocess
import threading

from harness import Failure, check, contains, equal, free_port, own, wait_for

USER, SECRET = "some-user", "s3cr3t-passw0rd"
ENV = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
       "GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@d", "GIT_AUTHOR_DATE": "1700000000 +0000", "GIT_COMMITTER_DATE": "1700000000 +0000"}


def git(folder, *args, env=None):
    p = subprocess.run(["git", "-c", "protocol.file.allow=always", *map(str, args)], cwd=folder, env={**ENV, **(env or {})},
                       capture_output=True, check=False)
    check(p.returncode == 0, f"git {args}: {p.stderr.decode()}")
    return p.stdout.decode().strip()


class Backend(http.server.BaseHTTPRequestHandler):
    """git http-backend as CGI; `users`: path prefix -> the Authorization header it wants."""
    root, users, seen = None, {}, []

    def log_message(self, *args):
        pass

    def serve(self):
        path, _, query = self.path.partition("?")
        self.seen.append((path, self.headers.get("Authorization")))
        want = next((v for p, v in self.users.items() if path.startswith(p)), None)
        if want and self.headers.get("Authorization") != want:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while n := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(n)
                self.rfile.readline()
        env = {**ENV, "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
               "REMOTE_ADDR": "127.0.0.1"}
        p = subprocess.run(["git", "-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true", "http-backend"], env=env,
                           input=body, capture_output=True, check=False)
        head, _, rest = p.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        status = next((int(v.split()[0]) for k, v in fields if k == "Status"), 200)
        self.send_response(status)
        for k, v in fields:
            if k != "Status":
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)

    do_GET = do_POST = serve


def make_repo(w):
    """sub.git and main.git, whose main branch has a submodule; -> (root, the commits by name)."""
    root, work = w.folder("repos"), w.folder("work")
    sub = work / "sub"
    sub.mkdir()
    git(sub, "init", "-q", "-b", "main")
    (sub / "inside").write_text("submodule\n")
    git(sub, "add", ".")
    git(sub, "commit", "-qm", "sub")
    git(work, "clone", "-q", "--bare", "sub", root / "sub.git")
    main, names = work / "main", {}
    main.mkdir()
    git(main, "init", "-q", "-b", "main")
    (main / "dir").mkdir()
    (main / "dir/in").write_text("in dir\n")
    (main / "f").write_text("first\n")
    (main / "f.sh").write_text("#!/bin/sh\n")
    (main / "f.sh").chmod(0o755)
    (main / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    git(main, "add", ".")
    git(main, "commit", "-qm", "first")
    names["first"] = git(main, "rev-parse", "HEAD")
    git(main, "tag", "light")
    git(main, "tag", "-a", "-m", "annotated", "heavy")
    names["tag"] = git(main, "rev-parse", "heavy")
    git(main, "update-ref", "refs/pull/7/head", "HEAD")
    (main / "f").write_text("second\n")
    git(main, "submodule", "add", "-q", root / "sub.git", "sub")
    git(main, "config", "-f", ".gitmodules", "submodule.sub.url", "../sub.git")
    git(main, "add", ".")
    git(main, "commit", "-qm", "second")
    names["second"] = git(main, "rev-parse", "HEAD")
    git(main, "branch", "other", names["first"])
    git(main, "push", "-q", "--mirror", root / "main.git") if (root / "main.git").exists() else \
        git(work, "clone", "-q", "--mirror", "main", root / "main.git")
    return root, work, names


@contextlib.contextmanager
def web(root, users=None):
    handler = type("Handler", (Backend,), {"root": root, "users": users or {}, "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.seen
    finally:
        server.shutdown()
        server.server_close()


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() and ".git/" not in str(p.relative_to(folder)))


def add(w, d, source, *flags, extra=(), env=None):
    """What ADD makes of a source: the folder."""
    out = w.folder("out")
    line = " ".join(["ADD", *flags, source, "/x/"])
    d.docker("build", *extra, "-o", f"type=local,dest={out}", w.context(f"FROM scratch\n{line}\n"), env=env).ok()
    return out / "x"


ALL = ["Dockerfile", "dir/in", "f", "f.sh"]


@own
def test_git_refs(w):
    d = w.shared()
    root, _, c = make_repo(w)
    with web(root) as (url, seen):
        repo = f"{url}/main.git"
        for ref, text in (("", "second"), ("#main", "second"), ("#light", "first"), ("#heavy", "first"), ("#other", "first"),
                          (f"#{c['first']}", "first"), ("#refs/pull/7/head", "first"), ("#refs/heads/main", "second"),
                          ("?branch=other", "first"), ("?tag=heavy", "first"), ("?ref=main", "second"),
                          (f"?checksum={c['first']}&branch=other", "first")):
            x = add(w, d, f"{repo}{ref}")
            equal((x / "f").read_text(), f"{text}\n", ref)
            equal(tree(x), ALL if text == "first" else sorted([".gitmodules", *ALL, "sub/.git", "sub/inside"]), ref)
            equal((x / "f.sh").stat().st_mode & 0o777, 0o755, "mode")
        equal(tree(add(w, d, f"{repo}#main:dir")), ["in"], "subdir")
        equal(tree(add(w, d, f"{repo}?submodules=false")), sorted([".gitmodules", *ALL]), "no submodules")
        x = add(w, d, f"{repo}#heavy", "--keep-git-dir=true")
        equal(git(x, "-c", "safe.directory=*", "rev-parse", "HEAD"), c["first"], "HEAD of the kept repository")
        equal(git(x, "-c", "safe.directory=*", "remote", "get-url", "origin"), repo, "origin of the kept repository")
        seen.clear()
        add(w, d, f"{repo}#{c['first']}:dir")
        check(not any("git-upload-pack" in p for p, _ in seen), f"a commit that is here was fetched again: {seen}")
        for source, text in ((f"{repo}#nothing", "repository does not contain ref nothing"),
                             (f"{repo}#main:none", 'invalid subdir none: failed to lstat "none": statat none: no such file or directory'),
                             (f"{repo}#refs/heads/*", f'contain ref refs/heads/*, output: "{c["second"]}\\trefs/heads/main\\n'), (f"{url}/none.git", "not found"),
                             (f"{repo}#main:f", 'git subpath "f" contains non-directory "f"'),
                             (f"{repo}?checksum={c['second']}#other", f"expected checksum to match {c['second']}, got {c['first']}")):
            d.docker("build", w.context(f"FROM scratch\nADD {source} /\n")).fails(text)


@own
def test_git_context(w):
    d = w.shared()
    root, work, c = make_repo(w)
    with web(root) as (url, _):
        out = w.folder("out")
        d.docker("build", "--no-cache", "-o", f"type=local,dest={out}", f"{url}/main.git?mtime=commit#other").ok()
        equal((out / "f").stat().st_mtime, 1700000000, "time of a file")
        for context, want in ((f"{url}/main.git#other", ALL), (f"{url}/main.git#{c['first']}", ALL)):
            out = w.folder("out")
            d.docker("build", "-o", f"type=local,dest={out}", context).ok()
            equal(tree(out), want, context)
        out = w.folder("out")
        named = w.context("FROM scratch\nCOPY --from=src /f /\n")
        d.docker("build", "--build-context", f"src={url}/main.git#light", "-o", f"type=local,dest={out}", named).ok()
        equal((out / "f").read_text(), "first\n", "named context")
        # a branch that moves to an unrelated commit is followed, and one that becomes a folder of branches
        (work / "main/f").write_text("third\n")
        git(work / "main", "checkout", "-q", "--orphan", "fresh")
        git(work / "main", "add", "f")
        git(work / "main", "commit", "-qm", "third")
        git(work / "main", "branch", "-D", "other")
        git(work / "main", "branch", "other/deeper")
        git(work / "main", "push", "-q", "--mirror", "--force", root / "main.git")
        equal((add(w, d, f"{url}/main.git#other/deeper") / "f").read_text(), "third\n", "moved branch")


@own
def test_git_epoch(w):
    """SOURCE_DATE_EPOCH=context and =NAME: the time of the commit; a folder of the client tells none."""
    d = w.shared()
    root, _, _ = make_repo(w)
    file = w.context("ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nCOPY f /f\n")
    named = w.context("FROM scratch\nCOPY --from=src f /f\n")
    created = lambda tag: json.loads(d.docker("inspect", tag).ok().out)[0]["Created"]
    with web(root) as (url, _):
        source = f"{url}/main.git#light"
        d.docker("build", "-f", file / "Dockerfile", "-t", "epoch-file", source).ok()
        equal(created("epoch-file"), "2023-11-14T22:13:20Z", "by the Dockerfile")
        d.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=src", "--build-context", f"src={source}", "-t", "epoch-named", named).ok()
        equal(created("epoch-named"), "2023-11-14T22:13:20Z", "of a named context")
        d.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=context", "--build-context", f"src={source}", "-t", "epoch-local", named).ok()
        check(created("epoch-local") > "2024", "a local context tells no time")
        d.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=nothing", named).fails("invalid SOURCE_DATE_EPOCH: nothing")


@own
def test_git_sha256(w):
    d = w.shared()
    root, work = w.folder("repos"), w.folder("work")
    git(work, "init", "-q", "-b", "main", "--object-format=sha256")
    (work / "f").write_text("long\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "x")
    sha = git(work, "rev-parse", "HEAD")
    git(work, "clone", "-q", "--bare", ".", root / "r.git")
    equal(len(sha), 64, "object name")
    with web(root) as (url, _):
        for ref in ("", f"#{sha}"):
            equal((add(w, d, f"{url}/r.git{ref}") / "f").read_text(), "long\n", ref)
        equal(git(add(w, d, f"{url}/r.git", "--keep-git-dir=true"), "-c", "safe.directory=*", "rev-parse", "HEAD"), sha, "HEAD")


def search(folder, secrets):
    """Where one of the secrets stands below the folder."""
    found = []
    for p in folder.rglob("*"):
        if p.is_file() and not p.is_symlink():
            data = p.read_bytes()
            found += [f"{p}: {s!r}" for s in secrets if s in data]
    return found


@own
def test_git_credentials(w):
    """Tokens, headers and passwords in addresses open the repository and are found nowhere afterwards."""
    d = w.daemon()
    root, _, _ = make_repo(w)
    basic = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    token = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()
    header = f"Bearer {SECRET}"
    for name in ("basic", "token", "header"):
        shutil.copytree(root / "main.git", root / name / "main.git")
        shutil.copytree(root / "sub.git", root / name / "sub.git")
    said = ""
    with web(root, {"/basic/": f"Basic {basic}", "/token/": f"basic {token}", "/header/": header}) as (url, _):
        host = url.removeprefix("http://")
        d.docker("build", w.context(f"FROM scratch\nADD {url}/token/main.git#other /\n")).fails("failed to fetch remote")
        env = {"TOKEN": SECRET, "HEADER": header}
        for name, secret in (("token", "GIT_AUTH_TOKEN,env=TOKEN"), ("token", f"GIT_AUTH_TOKEN.{host},env=TOKEN"),
                             ("header", "GIT_AUTH_HEADER,env=HEADER"), ("header", f"GIT_AUTH_HEADER.{host},env=HEADER")):
            x = add(w, d, f"{url}/{name}/main.git#other", extra=["--no-cache", "--secret", f"id={secret}"], env=env)
            equal((x / "f").read_text(), "first\n", name)
        out = w.folder("out")
        repo = f"http://{USER}:{SECRET}@{host}/basic/main.git"
        r = d.docker("build", "--progress=plain", "-o", f"type=local,dest={out}", w.context(f"ARG U\nFROM scratch\nARG U\nADD ${{U}}#main /x/\n"),
                     "--build-arg", f"U={repo}").ok()
        equal((out / "x/sub/inside").read_text(), "submodule\n", "submodule of a repository with a password")
        r = d.docker("build", "--progress=plain", w.context("FROM scratch\nARG U\nADD ${U} /x/\n"), "--build-arg",
                     f"U=http://{USER}:{SECRET}@{host}/none.git")
        check(r.code != 0, "a missing repository was found")
        said = r.err + r.out
    contains(said, "error fetching default branch for repository http://127.0.0.1")
    check(SECRET not in said, f"a password in what the client sees:\n{said}")
    check(SECRET not in d.docker("buildx", "history", "logs").ok().err, "a password in the build's log")
    check(SECRET not in d.docker("buildx", "history", "inspect", "--format", "json").ok().out, "a password in the build's record")
    d.kill()
    secrets = [s.encode() for s in (SECRET, basic, token)]
    found = search(d.root, secrets) + search(d.folder / "exec", secrets)
    check(not found, f"secrets in the data root: {found[:5]}")
    log = d.logfile.read_bytes()
    check(not any(s in log for s in secrets), "a secret in the daemon's log")


@own
def test_git_ssh(w):
    """ssh with a real sshd: the agent is forwarded, known hosts are asked for."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if sshd is None:
        raise Failure("sshd is needed: apt-get install openssh-server")
    d = w.shared()
    root, _, _ = make_repo(w)
    folder, port = w.folder("sshd"), free_port()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "authorized").chmod(0o600)
    os.makedirs("/run/sshd", exist_ok=True)
    (folder / "config").write_text(f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
                                   f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
                                   "PermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n")
    server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stdout=subprocess.DEVNULL, stderr=open(folder / "log", "wb"))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", folder / "agent"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: (folder / "agent").exists(), "the ssh agent")
        wait_for(lambda: subprocess.run(["ssh-keyscan", "-p", str(port), "127.0.0.1"], capture_output=True, check=False).stdout, "sshd")
        subprocess.run(["ssh-add", "-q", folder / "user"], env={**os.environ, "SSH_AUTH_SOCK": str(folder / "agent")}, check=True)
        repo = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{root}/main.git"
        r = d.docker("build", w.context(f"FROM scratch\nADD {repo}#other /\n"))
        check(r.code != 0, "ssh without an agent")
        out = w.folder("out")
        d.docker("build", "--ssh", f"default={folder}/agent", "-o", f"type=local,dest={out}",
                 w.context(f"FROM scratch\nADD {repo}#other /x/\n")).ok()
        equal(tree(out / "x"), ALL, "checkout")
        out = w.folder("out")
        d.docker("build", "--ssh", f"default={folder}/agent", "-o", f"type=local,dest={out}", f"{repo}#light").ok()
        equal(tree(out), ALL, "context")
    finally:
        for p in (server, agent):
            p.terminate()
            p.wait()
