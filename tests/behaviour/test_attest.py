# SPDX-License-Identifier: Apache-2.0
"""What is attested of builds: provenance, SBOMs, and where they are kept and shown."""
import base64
import json
import urllib.parse

from harness import check, contains, equal, own

SLSA1 = "https://slsa.dev/provenance/v1"
SLSA02 = "https://slsa.dev/provenance/v0.2"
SPDX = "https://spdx.dev/Document"
TEXT = "FROM busybox\nARG WORD=none\nRUN --mount=type=secret,id=word echo $WORD > /word\nCOPY f /f\n"
SCANNER = """FROM busybox
COPY <<-"EOF" /scan.sh
	set -e
	for d in $BUILDKIT_SCAN_SOURCE ${BUILDKIT_SCAN_SOURCE_EXTRAS:-/none}/*; do
	  [ -d "$d" ] || continue
	  cat <<BUNDLE > $BUILDKIT_SCAN_DESTINATION/${d##*/}.spdx.json
	{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document",
	 "predicate": {"spdxVersion": "SPDX-2.3", "name": "${d##*/}", "depth": "$BUILDKIT_SCAN_DEPTH",
	               "files": [{"fileName": "/f", "SPDXID": "SPDXRef-f"}], "creationInfo": {"creators": ["Tool: own"]}}}
	BUNDLE
	done
EOF
CMD sh /scan.sh
"""


def document(w, repo, what):
    r = w.registry._call("GET", f"/v2/{repo}/manifests/{what}", headers={
        "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"})
    return json.loads(r.read())


def statements(w, repo, tag):
    """-> {predicate type: [statement]} of the one image of an index, which is checked on the way."""
    index = document(w, repo, tag)
    image, attested = index["manifests"]
    equal(attested["platform"], {"architecture": "unknown", "os": "unknown"}, "platform of the attestations")
    equal(attested["annotations"], {"vnd.docker.reference.digest": image["digest"],
                                    "vnd.docker.reference.type": "attestation-manifest"}, "what they are about")
    m = document(w, repo, attested["digest"])
    equal(m["artifactType"], "application/vnd.docker.attestation.manifest.v1+json", "artifact type")
    equal(m["subject"]["digest"], image["digest"], "subject")
    found = {}
    for layer in m["layers"]:
        s = json.loads(w.registry._call("GET", f"/v2/{repo}/blobs/{layer['digest']}").read())
        equal(s["predicateType"], layer["annotations"]["in-toto.io/predicate-type"], "predicate type")
        equal(s["_type"], "https://in-toto.io/Statement/v1", "type")
        found.setdefault(s["predicateType"], []).append(s)
    return found


def push(w, d, repo, *args, text=TEXT):
    c = w.context(text, f="content\n")
    d.docker("buildx", "build", "--push", "-t", f"{w.registry.host}/{repo}:latest", *args, c).ok()


def test_provenance_max(w):
    d = w.shared()
    push(w, d, "prov/max", "--provenance=mode=max,builder-id=https://b.example/1", "--build-arg", "WORD=hello",
         "--secret", "id=word,env=HOME")
    s = statements(w, "prov/max", "latest")[SLSA1][0]
    check(s["subject"][0]["name"].startswith("pkg:docker/"), s["subject"])
    b, run = s["predicate"]["buildDefinition"], s["predicate"]["runDetails"]
    equal(b["resolvedDependencies"][0]["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64", "base image")
    request = b["externalParameters"]["request"]
    equal(request["frontend"], "dockerfile.v0", "frontend")
    equal(request["args"]["build-arg:WORD"], "hello", "build argument")
    equal(request["secrets"], [{"id": "word", "optional": True}], "secrets")
    equal(request["locals"], [{"name": "context"}, {"name": "dockerfile"}], "local sources")
    equal(b["internalParameters"]["targetPlatform"], "linux/amd64", "platform")
    steps = b["internalParameters"]["buildConfig"]["llbDefinition"]
    check(any("exec" in step["op"]["Op"] for step in steps), steps)
    equal(run["builder"]["id"], "https://b.example/1", "builder")
    meta = run["metadata"]
    equal(meta["buildkit_completeness"], {"request": True, "resolvedDependencies": False}, "completeness")
    info = meta["buildkit_metadata"]["source"]["infos"][0]
    equal(base64.b64decode(info["data"]).decode(), TEXT, "Dockerfile")
    check(len(meta["buildkit_metadata"]["layers"]) >= 2, meta["buildkit_metadata"]["layers"])


def test_provenance_min(w):
    d = w.shared()
    push(w, d, "prov/min", "--provenance=mode=min", "--build-arg", "WORD=hush", "--label", "a=b")
    p = statements(w, "prov/min", "latest")[SLSA1][0]["predicate"]
    check("hush" not in json.dumps(p), "a build argument is in mode=min")
    check("buildConfig" not in p["buildDefinition"]["internalParameters"], "steps are in mode=min")
    equal(p["runDetails"]["metadata"]["buildkit_completeness"]["request"], False, "complete")


def test_provenance_v02(w):
    d = w.shared()
    push(w, d, "prov/v02", "--provenance=mode=max,version=v0.2")
    p = statements(w, "prov/v02", "latest")[SLSA02][0]["predicate"]
    equal(p["buildType"], "https://mobyproject.org/buildkit@v1", "build type")
    check(len(p["buildConfig"]["llbDefinition"]) > 3, p["buildConfig"])


def test_no_provenance(w):
    d = w.shared()
    push(w, d, "prov/none", "--provenance=false")
    equal(document(w, "prov/none", "latest")["mediaType"], "application/vnd.oci.image.manifest.v1+json", "media type")


def test_complete_materials(w):
    d = w.shared()
    r = d.docker("buildx", "build", "--provenance=mode=max,complete-materials=true", w.context(TEXT, f="x"))
    r.fails("provenance materials are incomplete", "context")


def test_wrong_attributes(w):
    d = w.shared()
    for attr, text in (("type=provenance,mode=much", 'invalid mode "much"'),
                       ("type=provenance,version=v7", "invalid provenance SLSA version: v7"),
                       ("type=guess", 'unknown attestation type "guess"')):
        d.docker("buildx", "build", "--attest", attr, w.context(TEXT, f="x")).fails(text)


def test_credentials_stay_out(w):
    d = w.shared()
    push(w, d, "prov/secret", "--provenance=mode=max", "--build-context", "foo=https://name:geheim@example.invalid/x.git")
    text = json.dumps(statements(w, "prov/secret", "latest"))
    check("geheim" not in text, "a password is in the provenance")
    contains(text, "https://xxxxx:xxxxx@example.invalid/x.git")


def test_local_and_tar(w):
    d = w.shared()
    out = w.folder("out")
    text = "FROM scratch\nCOPY f /f\n"
    c = w.context(text, f="content\n")
    d.docker("buildx", "build", "--provenance=mode=max", "-o", f"type=local,dest={out},attestation-prefix=a-", c).ok()
    s = json.loads((out / "a-provenance.json").read_text())
    equal([x["name"] for x in s["subject"]], ["f"], "subjects")
    out = w.folder("out")
    d.docker("buildx", "build", "--provenance=mode=max", "--platform=linux/amd64,linux/arm64", "-o",
             f"type=local,dest={out}", c).ok()
    for arch in ("amd64", "arm64"):
        s = json.loads((out / f"linux_{arch}/provenance.json").read_text())
        equal(s["predicate"]["buildDefinition"]["internalParameters"]["targetPlatform"], f"linux/{arch}", "platform")
    out = w.folder("out")
    d.docker("buildx", "build", "-o", f"type=local,dest={out}", c).ok()
    equal(sorted(p.name for p in out.iterdir()), ["f"], "files of a plain export")
    d.docker("buildx", "build", "--platform=linux/amd64,linux/arm64", "-o",
             f"type=local,dest={out},platform-split=false", c).fails("cannot overwrite f from")


@own  # a field that is not SPDX's goes through
def test_sbom(w):
    d = w.shared()
    scanner = f"{w.registry.host}/scanner:latest"
    d.docker("buildx", "build", "--push", "--provenance=false", "-t", scanner, w.context(SCANNER)).ok()
    text = ("FROM busybox AS tools\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN touch /t\n"
            "FROM scratch\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nCOPY f /f\nCOPY --from=tools /t /t\n")
    push(w, d, "sbom/all", "--provenance=false", "--attest", f"type=sbom,generator={scanner},DEPTH=deep", text=text)
    found = statements(w, "sbom/all", "latest")[SPDX]
    equal([s["predicate"]["name"] for s in found], ["sbom", "sbom-context", "sbom-tools"], "documents")
    core = found[0]["predicate"]
    equal(core["depth"], "deep", "parameter of the scanner")
    contains(core["files"][0]["comment"], "layerID: sha256:")
    check(any(c.startswith("Tool: buildkit-") for c in core["creationInfo"]["creators"]), core["creationInfo"])


@own
def test_plain_build_is_a_plain_manifest(w):
    """What buildx adds by itself stays in the history; the same content keeps its digest."""
    d = w.daemon()
    c = w.context(TEXT, f="plain\n")
    ids = []
    for name in ("plain1", "plain2"):
        d.docker("build", "-t", name, c).ok()
        image = d.json("GET", f"/v1.51/images/{name}/json")
        contains(image["Descriptor"]["mediaType"], "manifest.v1+json", "media type")
        ids.append(image["Id"])
    equal(ids[0], ids[1], "digest of the same content")
    d.docker("buildx", "build", "--provenance=true", "-t", "asked", c).ok()
    image = d.json("GET", "/v1.51/images/asked/json")
    contains(image["Descriptor"]["mediaType"], "image.index.v1+json", "media type")


def test_store_keeps_attestations(w):
    d = w.daemon()
    d.docker("buildx", "build", "--load", "--provenance=mode=max", "-t", "kept", w.context(TEXT, f="kept\n")).ok()
    equal(d.docker("run", "--rm", "kept", "cat", "/f").ok().out, "kept\n", "output")
    kinds = [m["Kind"] for i in d.json("GET", "/images/json?manifests=1") if i["RepoTags"] == ["kept:latest"]
             for m in i["Manifests"]]
    equal(kinds, ["image", "attestation"], "manifests")
    tar = w.folder("s") / "kept.tar"
    d.docker("save", "-o", tar, "kept").ok()
    d.docker("rmi", "kept").ok()
    d.docker("load", "-i", tar).ok()
    equal(d.docker("run", "--rm", "kept", "cat", "/f").ok().out, "kept\n", "output after load")


def test_attestations_of_an_image(w):
    """GET /images/NAME/attestations: of a platform, of some types, with or without what they say."""
    d = w.daemon()
    scanner = f"{w.registry.host}/scanner:api"
    d.docker("buildx", "build", "--push", "--provenance=false", "-t", scanner, w.context(SCANNER)).ok()
    c = w.context("FROM busybox\nCOPY f /f\n", f="x")
    d.docker("buildx", "build", "-t", "attested", "--platform=linux/amd64,linux/arm64", "--provenance=mode=max", "--attest",
             f"type=sbom,generator={scanner}", c).ok()
    path = "/v1.55/images/attested/attestations"
    found = d.json("GET", path)
    equal(sorted(s["PredicateType"] for s in found), [SLSA1, SPDX], "types")
    check(all("Statement" not in s and s["Descriptor"]["mediaType"] == "application/vnd.in-toto+json" for s in found), found)
    found = d.json("GET", f"{path}?type={SPDX}&statement=1")
    equal([s["Statement"]["predicate"]["spdxVersion"] for s in found], ["SPDX-2.3"], "documents")
    other = d.json("GET", path + "?statement=true&type=" + SLSA1 + "&platform=" + urllib.parse.quote('{"os":"linux","architecture":"arm64"}'))
    contains(json.dumps(other[0]["Statement"]["predicate"]["buildDefinition"]["resolvedDependencies"]), "platform=linux%2Farm64")
    equal(d.json("GET", "/v1.55/images/busybox/attestations") if d.docker("pull", "busybox").ok() else 0, [], "of an image without")
    for query, status, text in (("nope/attestations", 404, "No such image"), ("attested/attestations?platform=x", 400, "platform"),
                                ("attested/attestations?platform=%7B%22os%22%3A%22plan9%22%2C%22architecture%22%3A%22mips%22%7D", 404, ""),
                                ("attested/attestations?platform=a&platform=b", 400, "only one platform value is currently supported")):
        code, _, body = d.http("GET", "/v1.55/images/" + query)
        equal(code, status, query)
        contains(body.decode(), text)
    code, _, body = d.http("GET", "/v1.54/images/attested/attestations")
    equal(code, 400, "before API 1.55")
    contains(body.decode(), "requires minimum API version 1.55")


def test_imagetools(w):
    """--sbom=true asks the scanner that BuildKit names; buildx imagetools shows what was attested."""
    d = w.shared()
    default = f"{w.registry.host}/docker/buildkit-syft-scanner:stable-1"
    d.docker("buildx", "build", "--push", "--provenance=false", "-t", default, w.context(SCANNER)).ok()
    push(w, d, "sbom/tools", "--sbom=true", "--provenance=mode=max")
    name = f"{w.registry.host}/sbom/tools:latest"

    def shown(what):
        return json.loads(d.docker("buildx", "imagetools", "inspect", name, "--format", "{{json .%s}}" % what).ok().out)

    equal(shown("SBOM")["SPDX"]["spdxVersion"], "SPDX-2.3", "SBOM")
    equal(shown("Provenance")["SLSA"]["buildDefinition"]["externalParameters"]["request"]["frontend"], "dockerfile.v0", "provenance")
    equal(shown("Image")["os"], "linux", "image")
    contains(d.docker("buildx", "imagetools", "inspect", name).ok().out, "attestation-manifest")
    copy = f"{w.registry.host}/sbom/copy:latest"
    d.docker("buildx", "imagetools", "create", "-t", copy, name).ok()
    equal(set(statements(w, "sbom/copy", "latest")), {SLSA1, SPDX}, "statements of the copy")


def test_history_and_metadata(w):
    d = w.daemon()
    c = w.context(TEXT, f="h\n")
    meta = w.folder("m") / "meta.json"
    d.docker("buildx", "build", "--metadata-file", meta, "-t", "h1", c, env={"BUILDX_METADATA_PROVENANCE": "max"}).ok()
    m = json.loads(meta.read_text())
    check("buildx.build.provenance" in m, m)
    ref = m["buildx.build.ref"].split("/")[-1]
    equal(json.loads(d.docker("buildx", "history", "inspect", ref, "--format", "json").ok().out)["Ref"], ref, "ref")
    a = json.loads(d.docker("buildx", "history", "inspect", "attachment", ref, "--type", "provenance").ok().out)
    check("buildDefinition" in a or "buildDefinition" in a.get("predicate", {}), a)
    contains(d.docker("buildx", "history", "logs", ref, "--progress=plain").ok().err, "RUN")
    d.docker("buildx", "history", "rm", ref).ok()
    check(ref not in d.docker("buildx", "history", "ls", "--format", "{{.Ref}}").ok().out, "a record that was removed")
    d.docker("buildx", "history", "inspect", ref).fails("no record found")


@own
def test_records_of_many_builds(w):
    """Records wait for a quiet moment: of builds one after the other each is there, and a build that runs keeps nobody waiting who asks."""
    d = w.daemon()
    contexts = [w.context("FROM scratch\nCOPY f /f\n", f=f"{n}\n") for n in range(4)]
    refs = []
    for n, c in enumerate(contexts):
        meta = w.folder(f"m{n}") / "meta.json"
        d.docker("buildx", "build", "--metadata-file", meta, c, env={"BUILDX_METADATA_PROVENANCE": "disabled"}).ok()
        refs.append(json.loads(meta.read_text())["buildx.build.ref"].split("/")[-1])
    running = d.spawn(w.clients / "bin/docker", "build", "--progress=plain", w.context("FROM busybox\nRUN sh -c 'echo MARK-two; sleep 3599; true'\n"))
    try:
        for line in running.stdout:
            if b"MARK-two" in line and b"echo" not in line:
                break
        listed = d.docker("buildx", "history", "ls", "--format", "{{.Ref}} {{.Status}}").ok().out
        for ref in refs:
            contains(listed, f"{ref} Completed")
            contains(d.docker("buildx", "history", "logs", ref, "--progress=plain").ok().err, "COPY f /f")
            check("buildDefinition" in d.docker("buildx", "history", "inspect", "attachment", ref, "--type", "provenance").ok().out, ref)
    finally:
        running.kill()
        running.wait()


@own
def test_docker_tar_with_attestations(w):
    d = w.daemon()
    tar = w.folder("t") / "image.tar"
    c = w.context(TEXT, f="tar\n")
    d.buildctl("build", "--frontend", "dockerfile.v0", "--local", f"context={c}", "--local", f"dockerfile={c}", "--opt",
               "attest:provenance=mode=max", "--output", f"type=docker,dest={tar},name=tarred").ok()
    d.docker("load", "-i", tar).ok()
    equal(d.docker("run", "--rm", "tarred", "cat", "/f").ok().out, "tar\n", "output")


def test_names_stay_inside(w):
    """A prefix that leads through a link of the result's touches nothing outside of the result."""
    d = w.shared()
    outside = w.folder("outside")
    (outside / "provenance.json").write_text("canary")
    c = w.context("FROM scratch\nCOPY . /\n")
    (c / "link").symlink_to(outside)
    out = w.folder("out")
    d.docker("buildx", "build", "--provenance=mode=min", "--output", f"type=local,dest={out},attestation-prefix=link/", c)
    equal((outside / "provenance.json").read_text(), "canary", "a file outside")
    d.alive()


def test_odd_words(w):
    """Words that are no UTF-8 are shown as Go shows them."""
    d = w.shared()
    push(w, d, "prov/odd", "--provenance=mode=max,builder-id=caf\udce9", "--attest", "type=sbom,disabled=true")
    s = statements(w, "prov/odd", "latest")[SLSA1][0]
    equal(s["predicate"]["runDetails"]["builder"]["id"], "caf\ufffd", "builder")
