# SPDX-License-Identifier: ISC
"""Import of images into a volume beside `umoci unpack`: bench/images.py OUT_DIR. The images are
made here: one layer of 130 MB in 8,000 files and, with D0_BENCH_LARGE=1, one of 1.7 GB in
80,000; half of the bytes compress well, half do not. Also `podman load`, and makefs -t hammer2 if
D0_MAKEFS names one (it works from the unpacked files, so `d0fs cp -r` is its match)."""
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time

from common import publish, row

OUT = os.path.abspath(sys.argv[1])
WORK = os.path.join(OUT, "bench-images")
RUNS = int(os.environ.get("RUNS", "3"))
D0FS = os.path.join(OUT, "bin", "d0fs")
OCI = "application/vnd.oci.image."


def make_tar(files, total):
    rng, out, size = random.Random(1), io.BytesIO(), total // files
    words = b" ".join(b"%x" % rng.getrandbits(16) for _ in range(size))
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(files):
            info = tarfile.TarInfo(f"usr/{i // 1000}/{i // 100 % 10}/file{i}")
            n = info.size = max(16, int(size * (0.2 + 1.6 * rng.random())))
            body = rng.randbytes(n) if i & 1 else (words * 2)[i % size:i % size + n].ljust(n, b".")
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def make_image(path, layer):
    blobs = os.path.join(path, "blobs", "sha256")
    os.makedirs(blobs)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as f:
            f.write(data)
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": blob(json.dumps(config).encode(), "config.v1+json"),
                "layers": [blob(gzip.compress(layer, 6), "layer.v1.tar+gzip")]}
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    with open(os.path.join(path, "index.json"), "w", encoding="utf-8") as f:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, f)
    with open(os.path.join(path, "oci-layout"), "w", encoding="utf-8") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')
    return config


def timed(*argv):
    start = time.monotonic()
    subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.DEVNULL, timeout=600)
    return time.monotonic() - start


def podman(image):
    """The image into a store of its own, durable."""
    root = os.path.join(WORK, "podman")
    base = ["podman", "--root", f"{root}/root", "--runroot", f"{root}/run", "--storage-driver", "vfs"]
    if subprocess.run(base + ["info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                      check=False).returncode:
        return None
    took = timed("sh", "-c", f"{' '.join(base)} load -q -i {image} && sync -f {root}")
    subprocess.run(base + ["rmi", "-af"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(root, ignore_errors=True)
    return took


def new_volume(volume, total):
    if os.path.exists(volume):
        os.unlink(volume)
    subprocess.run([D0FS, "newfs", "-s", str(3 * total + (256 << 20)), volume], check=True,
                   stdout=subprocess.DEVNULL)


def stored_mb(volume):
    info = json.loads(subprocess.run([D0FS, "--json", "info", volume], check=True, text=True,
                                     stdout=subprocess.PIPE).stdout)
    return max(p["data_bytes"] for p in info["pfs"]) / 1e6


def makefs_rows(what, image, total):
    tree, theirs, ours = (os.path.join(WORK, n) for n in ("bundle/rootfs", "makefs.h2", "cp.h2"))
    argv = [os.environ["D0_MAKEFS"], "-t", "hammer2", "-o", "v=1", theirs, tree]
    subprocess.run(["umoci", "unpack", "--image", f"{image}:latest", os.path.dirname(tree)], check=True)
    made, copied = [], []
    for _ in range(RUNS):
        made.append(timed("sh", "-c", " ".join(argv) + f" >/dev/null 2>&1 && sync {theirs}"))
        new_volume(ours, total)
        copied.append(timed(D0FS, "-q", "cp", "-r", ours, tree + "/", "LOCAL:/"))
    rows = [row("images", f"files into a volume, {what}", "s", "lower", copied, made, "makefs -t hammer2"),
            row("images", f"stored blocks, {what}", "MB", "lower", stored_mb(ours), stored_mb(theirs),
                "makefs -t hammer2")]
    shutil.rmtree(os.path.dirname(tree))
    return rows


def import_rows(name, files, total):
    image, volume = os.path.join(WORK, name), os.path.join(WORK, name + ".h2")
    what = f"{total // 1000000} MB in {files} files"
    make_image(image, make_tar(files, total))
    archive = image + ".tar"
    subprocess.run(["tar", "-C", image, "-cf", archive, "."], check=True)
    ours, peer, loads = [], [], []
    for _ in range(RUNS):
        new_volume(volume, total)
        ours.append(timed(D0FS, "-q", "import", volume, archive, "bench"))
        if shutil.which("umoci"):
            bundle = os.path.join(WORK, "bundle")
            # what is in the volume afterwards is durable: so must be the peer's files
            peer.append(timed("sh", "-c", f"umoci unpack --image {image}:latest {bundle} && "
                                          f"sync -f {bundle}"))
            shutil.rmtree(bundle)
        if shutil.which("podman"):
            loads.append(podman(archive))
    loads = [t for t in loads if t]
    rows = [row("images", f"import, {what}", "s", "lower", ours, peer or None, "umoci unpack"),
            row("images", f"import of the archive, {what}", "s", "lower", ours, loads or None,
                "podman load (vfs)")]
    rows.append(row("images", f"stored blocks, {what}", "MB", "lower", stored_mb(volume), total / 1e6,
                    "the tar"))
    if os.environ.get("D0_MAKEFS"):
        rows += makefs_rows(what, image, total)
    return volume, rows


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    rows = import_rows("small", 8000, 130_000_000)[1]
    if os.environ.get("D0_BENCH_LARGE"):
        rows += import_rows("large", 80000, 1_700_000_000)[1]
    publish("images", rows)
    shutil.rmtree(WORK)


main()
