# SPDX-License-Identifier: Apache-2.0
"""Sources whose origin is proved, and secrets of sources that stay where they belong."""
import base64
import functools
import http.server
import json
import os
import subprocess
import threading

from harness import Registry, check, contains, equal, own
from test_git import search

SECRET = "geheim-5f1d"
HTPASSWD = "ann:$2b$05$abcdefghijklmnopqrstuu451Wd6nnFCXdkH0UD3dW0UOxdjc5TXO\n"  # bcrypt of that


def tool(*args, env=None, cwd=None, text=None):
    return subprocess.run([str(a) for a in args], check=True, capture_output=True, env={**os.environ, **(env or {})}, cwd=cwd, input=text).stdout


class web(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; what lies below a key of `wanted` wants that Authorization."""
    wanted = {}

    def do_GET(self):
        for start, value in self.wanted.items():
            if self.path.startswith(start) and self.headers.get("Authorization") != value:
                self.send_error(401)
                return
        super().do_GET()

    def log_message(self, *args):
        pass


class serve:
    def __init__(self, folder, wanted=None):
        handler = type("handler", (web,), {"wanted": wanted or {}})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def gpg_key(w):
    """-> the environment with a fresh key, and its public half."""
    home = w.folder("gpg")
    home.chmod(0o700)
    env = {"GNUPGHOME": str(home)}
    tool("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "Test <t@example.org>", "ed25519", "sign",
         env=env)
    return env, tool("gpg", "--armor", "--export", env=env).decode()


def signed_policy(w, identifier, attrs):
    """A source policy that asks for a signature: -> its file."""
    p = w.folder("policy") / "p.json"
    p.write_text(json.dumps({"rules": [{"action": "CONVERT", "selector": {"identifier": identifier},
                                        "updates": {"identifier": identifier, "attrs": attrs}}]}))
    return p


def build(w, d, policy, add):
    out = w.folder("out")
    r = d.docker("build", "-o", f"type=local,dest={out}", w.context(f"FROM scratch\nADD {add} /x/\n"),
                 env={"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": str(policy)})
    return r, out / "x"


@own
def test_http_signature(w):
    d = w.shared()
    files, (env, public) = w.folder("files"), gpg_key(w)
    _, other = gpg_key(w)
    (files / "f").write_text("signed\n")
    signature = tool("gpg", "--batch", "--armor", "--detach-sign", "-o", "-", files / "f", env=env).decode()
    with serve(files) as s:
        url = f"http://{s.host}/f"
        attrs = {"http.signatureverify": signature, "http.signatureverifypubkey": public}
        r, x = build(w, d, signed_policy(w, url, attrs), url)
        r.ok()
        equal((x / "f").read_text(), "signed\n", "the file")
        r, _ = build(w, d, signed_policy(w, url, {**attrs, "http.signatureverifypubkey": other}), url)
        r.fails("failed to verify pgp signature")
        (files / "f").write_text("changed\n")
        r, _ = build(w, d, signed_policy(w, url, attrs), url)
        r.fails("failed to verify pgp signature")


def signed_repo(w, config, env):
    """main: a signed commit; the signed tag v1 on it; other: a commit that nobody signed."""
    git = functools.partial(tool, "git", "-c", "user.name=T", "-c", "user.email=t@example.org", *config, env={**env, "GIT_CONFIG_GLOBAL": "/dev/null"})
    top = w.folder("repos")
    work = top / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", cwd=work)
    (work / "f").write_text("signed\n")
    git("add", ".", cwd=work)
    git("commit", "-q", "-S", "-m", "signed", cwd=work)
    git("tag", "-s", "v1", "-m", "signed tag", cwd=work)
    git("checkout", "-q", "-b", "other", cwd=work)
    (work / "f").write_text("unsigned\n")
    git("commit", "-q", "--no-gpg-sign", "-am", "unsigned", cwd=work)
    git("clone", "-q", "--bare", work, top / "r.git")
    git("update-server-info", cwd=top / "r.git")
    return top


def check_signed(w, top, public, other):
    d = w.shared()
    with serve(top) as s:
        url = f"http://{s.host}/r.git"
        for ref, text in (("main", "signed\n"), ("v1", "signed\n"), ("other", None)):
            identifier = f"git://{s.host}/r.git#{ref}"
            r, x = build(w, d, signed_policy(w, identifier, {"git.sig.pubkey": public}), f"{url}#{ref}")
            if text is None:
                r.fails("git object is not signed")
                continue
            r.ok()
            equal((x / "f").read_text(), text, ref)
            r, _ = build(w, d, signed_policy(w, identifier, {"git.sig.pubkey": other}), f"{url}#{ref}")
            r.fails("signature")
        attrs = {"git.sig.pubkey": public, "git.sig.requiresignedtag": "true"}
        r, _ = build(w, d, signed_policy(w, f"git://{s.host}/r.git#v1", attrs), f"{url}#v1")
        r.ok()
        r, _ = build(w, d, signed_policy(w, f"git://{s.host}/r.git#main", attrs), f"{url}#main")
        r.fails("tag")


@own
def test_git_signed_with_pgp(w):
    env, public = gpg_key(w)
    _, other = gpg_key(w)
    check_signed(w, signed_repo(w, ["-c", "gpg.program=gpg"], env), public, other)


@own
def test_git_signed_with_ssh(w):
    keys = w.folder("keys")
    for name in ("own", "other"):
        tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name)
    top = signed_repo(w, ["-c", "gpg.format=ssh", "-c", f"user.signingkey={keys}/own"], {})
    check_signed(w, top, (keys / "own.pub").read_text(), (keys / "other.pub").read_text())


@own
def test_credentials_are_found_nowhere(w):
    """Password in a URL, token of a server, password of a registry: not in provenance, history, logs, errors, data."""
    d, files = w.daemon(), w.folder("files")
    basic = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    for name in ("basic", "token"):
        (files / name).mkdir()
        (files / name / name).write_text(name)
    auth = w.folder("auth")
    (auth / "htpasswd").write_text(HTPASSWD)
    registry = Registry(auth / "r", htpasswd=auth / "htpasswd")
    said = []
    try:
        with serve(files, {"/basic": f"Basic {basic}", "/token": f"Bearer {SECRET}"}) as s:
            d.docker("login", "-u", "ann", "--password-stdin", registry.host, stdin=SECRET.encode()).ok()
            secret = ["--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN"]
            url = f"http://ann:{SECRET}@{s.host}"
            run = functools.partial(d.docker, env={"TOKEN": SECRET})
            for text, more in (("FROM scratch\nARG URL\nADD ${URL}/basic/basic /\n", ["--build-arg", f"URL={url}"]),
                               (f"FROM scratch\nADD http://{s.host}/token/token /\n", secret)):
                r = run("build", "--progress=plain", "--push", "--provenance=mode=max", "-t", f"{registry.host}/a/b:c", *more,
                        w.context(text)).ok()
                said += [r.out + r.err]
            for text in (f"FROM scratch\nARG URL\nADD ${{URL}}/none /\n", f"FROM scratch\nARG URL\nADD ${{URL}}/basic/r.git#main /\n"):
                r = run("build", "--progress=plain", "--build-arg", f"URL={url}", w.context(text))
                check(r.code != 0, "what is not there was found")
                said += [r.out + r.err]
            r = run("build", "--progress=plain", "--push", "-t", f"{registry.host}/a/b:c", "--secret", "id=none,env=TOKEN", w.context(
                "FROM scratch\nADD http://127.0.0.1:1/x /\n"))
            said += [r.out + r.err]
        for line in d.docker("buildx", "history", "ls", "--format", "{{.Ref}}").ok().out.split():
            for what in (["logs"], ["inspect", "--format", "json"], ["inspect", "attachment", "--type", "provenance"]):
                r = d.docker("buildx", "history", *what, line.split("/")[-1])
                said += [r.out + r.err]
        check(any("resolvedDependencies" in t for t in said), "no provenance was read")
        d.kill()
    finally:
        registry.stop()
    for text in said:
        check(SECRET not in text and basic not in text, f"a secret in what a client sees:\n{text[-3000:]}")
    found = search(d.root, [SECRET.encode(), basic.encode()])
    found += search(auth / "r", [SECRET.encode(), basic.encode()])  # what was pushed
    check(not found, f"secrets at rest: {found[:5]}")
    log = d.logfile.read_text(errors="replace")
    check(SECRET not in log and basic not in log, "a secret in the daemon's log")
