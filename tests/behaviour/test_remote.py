# SPDX-License-Identifier: Apache-2.0
"""Sources from a web server on the loopback."""
import functools
import gzip
import hashlib
import http.server
import threading

from harness import contains, equal


class quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def test_add_url_encoded(w):
    """A server may compress a file on its way; what it says of the file then holds for that form."""
    d, asked = w.shared(), []
    text = b"remote\n" * 20000

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.headers.get("Accept-Encoding")))
            body = gzip.compress(text) if self.path == "/f" else text
            same = self.headers.get("If-None-Match") == '"packed"'
            self.send_response(304 if same else 200)
            self.send_header("ETag", '"packed"')
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "0" if same else str(len(body)))
            self.end_headers()
            if self.command == "GET" and not same:
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        for _ in range(2):
            out = w.folder("out")
            d.docker("build", "-o", f"type=local,dest={out}", w.context(f"FROM scratch\nADD {url}/f /\n")).ok()
            equal((out / "f").read_bytes(), text, "file")
        equal(asked, [("GET", "gzip"), ("HEAD", "gzip")], "requests")
        d.docker("build", w.context(f"FROM scratch\nADD {url}/liar /\n")).fails("gzip encoding is none")
    finally:
        server.shutdown()
        server.server_close()


def test_add_url(w):
    d = w.shared()
    files, out = w.folder("files"), w.folder("out")
    (files / "f").write_text("remote\n")
    server, url = serve(files)
    try:
        d.docker("build", "-o", f"type=local,dest={out}", w.context(f"FROM scratch\nADD {url}/f /dest/\n")).ok()
        equal((out / "dest/f").read_text(), "remote\n", "file")
        r = d.docker("build", w.context(f"FROM scratch\nADD {url}/missing /dest/\n"))
        r.fails("failed to solve: failed to load cache key: invalid response status 404")
        good, bad = hashlib.sha256(b"remote\n").hexdigest(), "0" * 64
        d.docker("build", w.context(f"FROM scratch\nADD --checksum=sha256:{good} {url}/f /\n")).ok()
        r = d.docker("build", w.context(f"FROM scratch\nADD --checksum=sha256:{bad} {url}/f /\n"))
        contains(r.err, f"digest mismatch sha256:{good}: sha256:{bad}")
    finally:
        server.shutdown()
        server.server_close()


def test_add_url_redirects(w):
    """Ten requests lead to a file or to nothing; an answer without a Location is the file; paths are asked for as they stand."""
    d, asked = w.shared(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            left = int(self.path.rpartition("/")[2]) if self.path.startswith("/hop/") else 0
            self.send_response(302 if left > 0 or self.path == "/nowhere" else 200)
            if left > 0:
                self.send_header("Location", f"{left - 1}")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"file")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        for path in ("/hop/9", "/nowhere", "/a/../b"):
            out = w.folder("out")
            d.docker("build", "-o", f"type=local,dest={out}", w.context(f"FROM scratch\nADD {url}{path} /f\n")).ok()
            equal((out / "f").read_text(), "file", path)
        equal((asked[:10], asked[10:]), ([f"/hop/{n}" for n in range(9, -1, -1)], ["/nowhere", "/a/../b"]), "requests")
        del asked[:]
        d.docker("build", w.context(f"FROM scratch\nADD {url}/hop/10 /f\n")).fails("failed to load cache key", "stopped after 10 redirects")
        equal(len(asked), 10, "requests")
    finally:
        server.shutdown()
        server.server_close()
