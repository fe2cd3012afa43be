# SPDX-License-Identifier: Apache-2.0
"""RUN --device: devices of CDI specifications, in JSON and YAML, for those who may have them."""
import json

from harness import contains, equal, own

OPEN = """\
cdiVersion: "0.6.0"
kind: "vendor1.com/device"
devices:
- name: foo
  annotations:
    org.mobyproject.buildkit.device.autoallow: true
  containerEdits:
    env: [FOO=injected, 'HOME=/of/the/device']
    deviceNodes:
    - path: /dev/null-of-cdi
      hostPath: /dev/null
    additionalGids: [4711]
containerEdits:
  env:
  - SPEC=too
"""


def closed(folder):
    return {"cdiVersion": "0.6.0", "kind": "vendor2.com/disk", "annotations": {"org.mobyproject.buildkit.device.class": "storage"},
            "devices": [{"name": n, "containerEdits": {"env": [f"DISK_{n}=yes"], "mounts": [
                {"hostPath": str(folder), "containerPath": f"/disk-{n}", "options": ["ro", "bind"]}]}} for n in ("a", "b")]}


def daemon(w, *args):
    folder = w.folder("cdi")
    (folder / "open.yaml").write_text(OPEN)
    (folder / "closed.json").write_text(json.dumps(closed(folder)))
    (folder / "broken.yaml").write_text("kind: [\n")
    return w.daemon("--cdi-spec-dir", str(folder), *args)


@own
def test_device(w):
    d = daemon(w)
    equal("broken.yaml" in d.text_log(), False, "read before anybody asks")

    def build(run, *args):
        c = w.context(f"FROM busybox\nRUN {run}\n")
        return d.docker("buildx", "build", "--progress=plain", "--no-cache", *args, str(c))

    out = build("--device=vendor1.com/device=foo,required --device=vendor9.com/none env | sort; ls -l /dev/null-of-cdi; id -G").ok().err
    for part in ("FOO=injected", "HOME=/of/the/device", "SPEC=too", "1, ", "4711"):
        contains(out, part)
    build("--device=vendor1.com/device=foo echo x > /dev/null-of-cdi").ok()
    build("--device=vendor9.com/none,required true").fails('required device "vendor9.com/none" is not registered')
    build("--device=vendor2.com/disk=b true").fails("device vendor2.com/disk=b is requested by the build but not allowed")
    build("--device=vendor2.com/disk=* true").fails("devices vendor2.com/disk=a, vendor2.com/disk=b are requested by the build but not allowed")
    build("--device=vendor2.com/disk=b true", "--allow", "device=vendor2.com/disk=a").fails("device vendor2.com/disk=b is requested")
    contains(build("--device=vendor2.com/disk env; ls /disk-a", "--allow", "device=vendor2.com/disk=a").ok().err, "closed.json", "the mount")
    out = build("--device=storage env; ! touch /disk-b/x", "--allow", "device").ok().err
    for part in ("DISK_a=yes", "DISK_b=yes"):
        contains(out, part)
    other = "device=vendor2.com/disk=b,alias=vendor5.com/wanted"
    contains(build("--device=vendor5.com/wanted,required env", "--allow", other).ok().err, "DISK_b=yes", "under another name")
    # A device that was granted under another name has none else; and that name must be a device's where another one is asked for.
    for wanted in ("vendor2.com/disk=a", "vendor2.com/disk=b"):
        build(f"--device={wanted} true", "--allow", other).fails('required device "vendor5.com/wanted" is not registered')
    turned = "device=vendor2.com/disk=b,alias=vendor2.com/disk=a"
    contains(build("--device=vendor2.com/disk=a env", "--allow", turned).ok().err, "DISK_b=yes")
    build("--device=vendor2.com/disk=b true", "--allow", turned).fails("device vendor2.com/disk=b is requested by the build but not allowed")
    build("true", "--allow", "device=vendor2.com/disk=b,name=x").fails('unknown device config key "name"')
    contains(d.text_log(), "broken.yaml")
    equal(d.json("GET", "/info")["CDISpecDirs"], d.args[1:2], "the directories")


@own
def test_device_switched_off(w):
    d = daemon(w, "--feature", "cdi=false")
    c = w.context("FROM busybox\nRUN --device=vendor1.com/device=foo true\n")
    d.docker("buildx", "build", str(c)).ok()
    c = w.context("FROM busybox\nRUN --device=vendor1.com/device=foo,required true\n")
    d.docker("buildx", "build", str(c)).fails('CDI device "vendor1.com/device=foo" is required by step', "but CDI device support is disabled")
