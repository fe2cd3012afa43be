# SPDX-License-Identifier: Apache-2.0
"""Sources from a web server on the loopback."""
import functools
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


def test_add_url(w):
    d = w.shared()
    files, out = w.folder("files"), w.folder("out")
    (files / "f").write_text("remote\n")
    server, url = serve(files)
    try:
        d.docker("build", "-o", f"type=local,dest={out}", w.context(f"FROM scratch\nADD {url}/f /dest/\n")).ok()
        equal((out / "dest/f").read_text(), "remote\n", "file")
        r = d.docker("build", w.context(f"FROM scratch\nADD {url}/missing /dest/\n"))
        r.fails("invalid response status 404")
        good, bad = hashlib.sha256(b"remote\n").hexdigest(), "0" * 64
        d.docker("build", w.context(f"FROM scratch\nADD --checksum=sha256:{good} {url}/f /\n")).ok()
        r = d.docker("build", w.context(f"FROM scratch\nADD --checksum=sha256:{bad} {url}/f /\n"))
        contains(r.err, f"digest mismatch sha256:{good}: sha256:{bad}")
    finally:
        server.shutdown()
        server.server_close()
