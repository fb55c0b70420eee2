# SPDX-License-Identifier: ISC
"""Import of images into a volume beside `umoci unpack`: bench/images.py OUT_DIR. The images are
made here: one layer of 130 MB in 8,000 files and, with D0_BENCH_LARGE=1, one of 1.7 GB in
80,000; half of the bytes compress well, half do not."""
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


def import_rows(name, files, total):
    image, volume = os.path.join(WORK, name), os.path.join(WORK, name + ".h2")
    make_image(image, make_tar(files, total))
    ours, peer = [], []
    for _ in range(3):
        if os.path.exists(volume):
            os.unlink(volume)
        subprocess.run([D0FS, "newfs", "-s", str(3 * total + (256 << 20)), volume], check=True,
                       stdout=subprocess.DEVNULL)
        ours.append(timed(D0FS, "-q", "import", volume, image, "bench"))
        if shutil.which("umoci"):
            bundle = os.path.join(WORK, "bundle")
            # what is in the volume afterwards is durable: so must be the peer's files
            peer.append(timed("sh", "-c", f"umoci unpack --image {image}:latest {bundle} && "
                                          f"sync -f {bundle}"))
            shutil.rmtree(bundle)
    stored = os.stat(volume).st_blocks * 512 / 1e6
    return volume, [row("images", f"import, {total // 1000000} MB in {files} files", "s", "lower",
                        ours, peer or None, "umoci unpack"),
                    row("images", f"stored, {total // 1000000} MB in {files} files", "MB", "lower",
                        stored, total / 1e6, "the tar")]


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    rows = import_rows("small", 8000, 130_000_000)[1]
    if os.environ.get("D0_BENCH_LARGE"):
        rows += import_rows("large", 80000, 1_700_000_000)[1]
    publish("images", rows)
    shutil.rmtree(WORK)


main()
