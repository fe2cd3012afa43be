# SPDX-License-Identifier: Apache-2.0
"""Ping, version, info, errors: what every client asks first."""
import json

from harness import check, contains, equal, own


def test_ping(w):
    d = w.shared()
    for method in ("GET", "HEAD"):
        status, h, body = d.http(method, "/_ping")
        equal(status, 200, "status")
        equal(body, b"OK" if method == "GET" else b"", "body")
        equal(h["api-version"], "1.56", "api-version")
        equal(h["builder-version"], "2", "builder-version")
        equal(h["ostype"], "linux", "ostype")
        equal(h["swarm"], "inactive", "swarm")
        equal(h["docker-experimental"], "false", "docker-experimental")
        check(h["server"].startswith("Docker/"), h["server"])


def test_version_and_info(w):
    d = w.shared()
    v = d.json("GET", "/v1.44/version")
    equal(v["ApiVersion"], "1.56", "ApiVersion")
    i = d.json("GET", "/info")
    equal(i["DriverStatus"], [["driver-type", "io.containerd.snapshotter.v1"]], "DriverStatus")
    contains(d.docker("info").ok().out, "Storage Driver: overlayfs")
    contains(d.docker("version").ok().out, "Server:")


@own
def test_version_refusals(w):
    d = w.shared()
    status, _, body = d.http("GET", "/v1.99/info")
    equal(status, 400, "status")
    equal(json.loads(body)["message"], "client version 1.99 is too new. Maximum supported API version is 1.56", "message")
    status, _, body = d.http("GET", "/v1.10/info")
    equal(status, 400, "status")
    contains(json.loads(body)["message"], "Minimum supported API version is 1.24")


def test_unknown_route(w):
    d = w.shared()
    status, _, body = d.http("GET", "/no/such/thing")
    equal(status, 404, "status")
    equal(json.loads(body), {"message": "page not found"}, "body")


@own
def test_what_comes_later_is_named(w):
    d = w.shared()
    for method, path, word in (("POST", "/networks/create", "networks"), ("POST", "/volumes/create", "volumes")):
        status, _, body = d.http(method, path, b"{}", {"Content-Type": "application/json"})
        equal(status, 501, path)
        contains(json.loads(body)["message"], word)


def test_lists_are_well_formed(w):
    d = w.shared()
    equal(sorted(n["Name"] for n in d.json("GET", "/networks")), ["bridge", "host", "none"], "networks")
    equal(d.json("GET", "/volumes"), {"Volumes": [], "Warnings": None}, "volumes")
    equal(d.json("GET", "/plugins"), [], "plugins")
    d.docker("network", "ls").ok()
    d.docker("volume", "ls").ok()
