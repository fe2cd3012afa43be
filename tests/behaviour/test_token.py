# SPDX-License-Identifier: Apache-2.0
"""A registry behind TLS whose token server gives a token for each scope: as the public ones are."""
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import urllib.parse

import test_cache
import test_cases
from harness import check, contains, equal
from test_daemon import keys

USER, PASSWORD = "ann", "geheim-7c2e"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def token_of(scopes):
    return "tok" + hashlib.sha256(" ".join(sorted(scopes)).encode()).hexdigest()


class Front(http.server.BaseHTTPRequestHandler):
    """Token server and registry in one; what it lets through goes to the backend. Anonymous tokens may pull below "public/"."""
    protocol_version = "HTTP/1.1"
    backend, own, seen, granted = "", "", [], {}

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        if not any(k.lower() == "content-length" for k, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give_token(self, body):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        form = urllib.parse.parse_qs(body.decode())
        scopes = " ".join(query.get("scope", []) + form.get("scope", [])).split()
        known = self.headers.get("Authorization") == f"Basic {BASIC}" or (form.get("username"), form.get("password")) == ([USER], [PASSWORD])
        self.seen.append((self.command, known, scopes))
        if self.headers.get("Authorization") and not known:
            return self.answer(401, b'{"details":"incorrect username or password"}')
        given = scopes if known else [s for s in scopes if s.startswith("repository:public/") and s.endswith(":pull")]
        self.granted[token_of(given)] = given
        return self.answer(200, json.dumps({"token": token_of(given), "access_token": token_of(given), "expires_in": 300}).encode(),
                           [("Content-Type", "application/json")])

    def allowed(self):
        repo = self.path.removeprefix("/v2/").split("/blobs/")[0].split("/manifests/")[0]
        need = "pull" if self.command in ("GET", "HEAD") else "push"
        given = self.granted.get(self.headers.get("Authorization", "").removeprefix("Bearer "), [])
        ok = any(s.split(":")[1] == repo and need in s.rpartition(":")[2].split(",") for s in given)
        return ok, repo, need

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while n := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        if self.path.startswith("/token"):
            return self.give_token(body)
        ok, repo, need = self.allowed()
        if not ok:
            scope = f',scope="repository:{repo}:{"pull,push" if need == "push" else "pull"}"' if repo.strip("/") else ""
            return self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}',
                               [("WWW-Authenticate", f'Bearer realm="https://{self.own}/token",service="reg"{scope}'),
                                ("Content-Type", "application/json")])
        c = http.client.HTTPConnection(self.backend)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("authorization", "transfer-encoding", "connection", "host")}
        c.request(self.command, self.path, body, {**headers, "Host": self.own, "X-Forwarded-Proto": "https", "Content-Length": str(len(body))})
        r = c.getresponse()
        data = r.read()
        keep = [(k, v) for k, v in r.getheaders() if k.lower() not in ("transfer-encoding", "connection")]
        self.answer(r.status, data, keep)
        c.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def log_message(self, *_):
        pass


ADDRESS = "192.0.2.10"  # not the loopback's: there a registry may be without TLS


def certificate(w):
    """keys(), and with them one for ADDRESS, which this job's network has from now on."""
    f = keys(w)
    subprocess.run(["sh", "-ec", f"""
        ip address replace {ADDRESS}/32 dev lo
        printf 'subjectAltName=IP:{ADDRESS}\\n' > san
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=r -keyout key.pem -out r.csr
        openssl x509 -req -in r.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile san -out cert.pem
    """], cwd=f, check=True, capture_output=True)
    return f


@contextlib.contextmanager
def token_registry(w):
    """-> (host, the folder with ca.pem, what the token server was asked for)"""
    f = certificate(w)
    handler = type("handler", (Front,), {"backend": w.registry.host, "seen": [], "granted": {}})
    server = http.server.ThreadingHTTPServer((ADDRESS, 0), handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f / "cert.pem", f / "key.pem")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    handler.own = f"{ADDRESS}:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler.own, f, handler.seen
    finally:
        server.shutdown()
        server.server_close()


def builder(w, host, ca=None):
    """A buildkitd that knows the CA (or none)."""
    config = w.folder("toml") / "buildkitd.toml"
    config.write_text(f'[registry."docker.io"]\n  mirrors = ["{w.registry.host}"]\n[registry."{w.registry.host}"]\n  http = true\n'
                      + (f'[registry."{host}"]\n  ca = ["{ca}"]\n' if ca else ""))
    return w.daemon("--config", config, name="buildkitd")


def log_in(d, host, user=USER, password=PASSWORD):
    d.env()  # makes the folder
    file = pathlib.Path(d.folder) / "home/.docker/config.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known["auths"] = {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}
    file.write_text(json.dumps(known))


def buildx(w, d, f, *args):
    """The client asks for the tokens, and trusts the CA."""
    return d.docker("buildx", "build", *test_cases.remote(w, d), "--progress=plain", "--provenance=false", *args,
                    env={"SSL_CERT_FILE": str(f / "ca.pem")})


def test_push_and_pull_with_tokens(w):
    with token_registry(w) as (host, f, seen):
        d, c = builder(w, host, f / "ca.pem"), w.context("FROM busybox\nCOPY a /a\n", a="a\n")
        image = f"{host}/team/app:1"
        r = buildx(w, d, f, "--push", "-t", image, c)
        r.fails(f"failed to solve: failed to push {image}")
        check(all(not known for _, known, _ in seen), "nobody logged in")
        log_in(d, host, password="wrong")
        buildx(w, d, f, "--push", "-t", image, c).fails(f"failed to solve: failed to push {image}")
        log_in(d, host)
        del seen[:]
        buildx(w, d, f, "--push", "-t", image, "-t", f"{host}/team/app:2", c).ok()
        check(any(known and "repository:team/app:pull,push" in s for _, known, s in seen), f"scopes: {seen}")
        # a fresh builder pulls it, and pushes what it made of it to another repository
        e, out = builder(w, host, f / "ca.pem"), w.folder("out")
        use = w.context(f"FROM {image}\nCOPY b /b\n", b="b\n")
        buildx(w, e, f, use).fails("failed to resolve source metadata")
        log_in(e, host)
        buildx(w, e, f, "--push", "-t", f"{host}/other/app:1", use).ok()
        buildx(w, e, f, "-o", f"type=local,dest={out}", use).ok()
        equal((out / "a").read_text() + (out / "b").read_text(), "a\nb\n", "files")
        # without a name: what anybody may have
        log_in(d, host)
        buildx(w, d, f, "--push", "-t", f"{host}/public/app:1", c).ok()
        g = builder(w, host, f / "ca.pem")
        buildx(w, g, f, w.context(f"FROM {host}/public/app:1\n")).ok()
        for x in (d, e):
            check(PASSWORD not in x.text_log() and BASIC not in x.text_log(), "the password is in the log")


def test_cache_with_tokens(w):
    with token_registry(w) as (host, f, _):
        d, e = (builder(w, host, f / "ca.pem") for _ in range(2))
        c, ref = w.context(test_cache.DOCKERFILE, one="1\n", two="2\n"), f"type=registry,ref={host}/team/cache:c"
        a, b = w.folder("out"), w.folder("out")
        for x in (d, e):
            log_in(x, host)
        buildx(w, d, f, "-o", f"type=local,dest={a}", "--cache-to", f"{ref},mode=max", c).ok()
        r = buildx(w, e, f, "-o", f"type=local,dest={b}", "--cache-from", ref, c).ok()
        equal([s for s in test_cache.ran(r) if not s.startswith("[auth]")], [], "steps that ran")
        equal((b / "unique").read_text(), (a / "unique").read_text(), "the random content")


def test_unknown_authority(w):
    """A certificate that nobody vouches for is refused, unless the export says that it may be."""
    with token_registry(w) as (host, f, seen):
        d, c = builder(w, host), w.context("FROM scratch\nCOPY a /a\n", a="a\n")
        log_in(d, host)
        output = f"type=image,name={host}/team/x:1,push=true"
        buildx(w, d, f, "-o", output, c).fails("tls: failed to verify certificate: x509: certificate signed by unknown authority")
        equal(seen, [], "what the token server was asked")
        buildx(w, d, f, "-o", f"{output},registry.insecure=true", c).ok()
        contains(str(seen), "repository:team/x:pull,push")
