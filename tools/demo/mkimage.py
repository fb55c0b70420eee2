#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""mkimage.py OUT ROOT.tar: the demo container as an image archive, as `docker save` writes
them: one layer, and a configuration that starts busybox's web server. Reproducible."""

import hashlib
import io
import json
import sys
import tarfile
import time


def add(out, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def main():
    with open(sys.argv[2], "rb") as f:
        layer = f.read()
    digest = hashlib.sha256(layer).hexdigest()
    with tarfile.open(sys.argv[2]) as tar:
        newest = max(member.mtime for member in tar)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest))
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "created": created,
        "config": {"Env": ["PATH=/bin"], "WorkingDir": "/", "ExposedPorts": {"80/tcp": {}},
                   "Cmd": ["/bin/httpd", "-f", "-v", "-p", "80", "-h", "/www"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "tools/demo/mkroot.sh"}],
    }, sort_keys=True).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": ["d0/demo:latest"], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(sys.argv[1], "w", format=tarfile.USTAR_FORMAT) as out:
        add(out, name, config)
        add(out, f"{digest}/layer.tar", layer)
        add(out, "manifest.json", json.dumps(manifest).encode())


if __name__ == "__main__":
    main()
