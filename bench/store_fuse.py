# SPDX-License-Identifier: ISC
"""Reading files through `d0fs mount` (FUSE; the server is the store cell's) beside btrfs and EROFS
on loop devices: bench/store_fuse.py OUT_DIR. "Cold" is a fresh mount, with the image in the
host's page cache for everybody; "cached" is the same again. Needs root for the peers."""
import os
import random
import shutil
import subprocess
import sys
import time

OUT = os.path.abspath(sys.argv[1])
from common import publish, row  # noqa: E402

WORK = os.path.join(OUT, "bench-fuse")
TREE, MNT = os.path.join(WORK, "tree"), os.path.join(WORK, "mnt")
D0FS = os.path.join(OUT, "bin", "d0fs")
FILES, BIG, READS = 8000, 64 << 20, 2000


def make_tree():
    rng = random.Random(2)
    for i in range(FILES):
        folder = f"{TREE}/{i // 400}/{i // 40 % 10}"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/file{i}", "wb") as f:
            f.write(rng.randbytes(rng.randrange(200, 12000)))
    with open(f"{TREE}/big", "wb") as f:
        f.write(rng.randbytes(BIG))


def run(*argv):
    subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=300)


class D0:
    name = "d0"

    def make(self):
        run(D0FS, "newfs", "-s", "1G", f"{WORK}/d0.h2")
        run(D0FS, "cp", "-r", f"{WORK}/d0.h2", TREE + "/", "LOCAL:/")

    def mount(self):
        run(D0FS, "mount", "-r", "-b", f"{WORK}/d0.h2", "LOCAL", MNT)


class Btrfs:
    name = "btrfs"

    def make(self):
        with open(f"{WORK}/btrfs", "wb") as f:
            f.truncate(1 << 30)
        run("mkfs.btrfs", "-q", "--csum", "sha256", "--rootdir", TREE, f"{WORK}/btrfs")

    def mount(self):
        run("mount", "-o", "loop,ro", f"{WORK}/btrfs", MNT)


class Erofs:
    name = "EROFS"

    def make(self):
        run("mkfs.erofs", "-zlz4", f"{WORK}/erofs", TREE)

    def mount(self):
        run("mount", "-t", "erofs", "-o", "loop", f"{WORK}/erofs", MNT)


def find():
    start, n = time.monotonic(), 0
    for _, _, files in os.walk(MNT):
        n += len(files)
    subprocess.run(["find", MNT, "-printf", "%s\n"], check=True, stdout=subprocess.DEVNULL)
    assert n == FILES + 1
    return (time.monotonic() - start) * 1e3


def tar():
    start = time.monotonic()
    subprocess.run(f"tar -C {MNT} -cf - . | cat >/dev/null", shell=True, check=True)
    return (time.monotonic() - start) * 1e3


def reads():
    rng = random.Random(3)
    fd = os.open(f"{MNT}/big", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    start = time.monotonic()
    for _ in range(READS):
        os.pread(fd, 4096, rng.randrange(BIG // 4096) * 4096)
    took = time.monotonic() - start
    os.close(fd)
    return took / READS * 1e6


def fresh(fs, what):
    fs.mount()
    try:
        return what(), what()
    finally:
        for _ in range(50):
            if not subprocess.run(["umount", MNT], check=False, stderr=subprocess.DEVNULL).returncode:
                break
            time.sleep(0.1)
        time.sleep(0.2)  # until d0fs has let go of the volume


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(MNT)
    make_tree()
    got = {}
    for fs in (D0(), Btrfs(), Erofs()):
        try:
            fs.make()
            for _ in range(3):
                for what in (find, tar, reads):
                    for when, value in zip(("cold", "cached"), fresh(fs, what)):
                        got.setdefault((fs.name, what.__name__, when), []).append(value)
        except (OSError, subprocess.CalledProcessError) as err:
            print(f"bench: no {fs.name} here: {err}", file=sys.stderr)
    texts = {"find": (f"find, {FILES} files", "ms"), "tar": ("tar of everything", "ms"),
             "reads": ("4 KiB at random", "us")}
    publish("store-fuse", [
        row("store-fuse", f"{texts[w][0]}, {when}", texts[w][1], "lower", got.get(("d0", w, when)),
            got.get((peer, w, when)), f"{peer} on a loop device")
        for peer in ("btrfs", "EROFS") for w in ("find", "tar", "reads") for when in ("cold", "cached")])
    shutil.rmtree(WORK)


main()
