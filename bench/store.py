# SPDX-License-Identifier: ISC
"""Figures of the store, beside their peers: bench/store.py OUT_DIR.

Peers: btrfs on a loop device (files, snapshots) when we are root and mkfs.btrfs is there, and
the hashes alone (scrub). The volume is a file in OUT_DIR.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

AREA = "store"


def tool(out, *args):
    done = subprocess.run([os.path.join(out, "bin", "store_bench"), *map(str, args)], check=True,
                          stdout=subprocess.PIPE, timeout=900)
    return json.loads(done.stdout)


def row(name, unit, better, ours, peer=None, peer_name=""):
    ratio = round(ours / peer, 3) if peer else None
    return {"area": AREA, "name": name, "unit": unit, "better": better, "d0": ours, "peer": peer,
            "peer_name": peer_name, "ratio": ratio}


class Btrfs:
    """btrfs with its defaults on a loop device; None-valued figures when it can't be had."""

    def __init__(self, out):
        self.image = os.path.join(out, "bench-btrfs.img")
        self.dir = None

    def __enter__(self):
        try:
            with open(self.image, "wb") as image:
                image.truncate(8 << 30)
            subprocess.run(["mkfs.btrfs", "-q", "-f", self.image], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.dir = tempfile.mkdtemp()
            subprocess.run(["mount", "-o", "loop", self.image, self.dir], check=True,
                           stderr=subprocess.DEVNULL)
            subprocess.run(["btrfs", "-q", "subvolume", "create", self.dir + "/root"], check=True)
        except (OSError, subprocess.CalledProcessError):
            if self.dir:
                os.rmdir(self.dir)
            self.dir = None
        return self

    def __exit__(self, *_):
        if self.dir:
            subprocess.run(["umount", self.dir], check=True)
            os.rmdir(self.dir)
        if os.path.exists(self.image):
            os.unlink(self.image)

    def files(self, count):
        """Microseconds for each file, the same content as store_bench writes."""
        if not self.dir:
            return None
        place = f"{self.dir}/root/{count}"
        os.mkdir(place)
        small, big = b"x" * 200, b"y" * 3000
        start = time.monotonic()
        for i in range(count):
            fd = os.open(f"{place}/file-{i}.txt", os.O_CREAT | os.O_WRONLY)
            os.write(fd, small if i % 4 else big)
            os.close(fd)
        subprocess.run(["btrfs", "filesystem", "sync", self.dir], check=True,
                       stdout=subprocess.DEVNULL)
        return (time.monotonic() - start) / count * 1e6

    def snapshot_ms(self):
        """With the same durability: each one committed. Start of the tool not counted."""
        if not self.dir:
            return None
        idle = min(self.timed(["btrfs", "--version"]) for _ in range(5))
        spent = []
        for i in range(10):
            spent.append(self.timed(["btrfs", "-q", "subvolume", "snapshot", self.dir + "/root",
                                     f"{self.dir}/snap{i}"])
                         + self.timed(["btrfs", "filesystem", "sync", self.dir]) - 2 * idle)
        return max(sum(spent) / len(spent), 0.001) * 1e3

    @staticmethod
    def timed(cmd):
        start = time.monotonic()
        subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start


def measure(out):
    volume = os.path.join(out, "bench-store.h2")
    rows = []
    hashes = tool(out, "hash")
    for name, check, peer in (("xxhash64", 3, hashes["xxhash64"]), ("sha192", 4, hashes["sha256"])):
        got = tool(out, "scrub", volume, 512, check)
        rows.append(row(f"scrub, {name}, one core", "GB/s", "higher", got["gb_per_s"], peer,
                        "the hash alone"))
    with Btrfs(out) as btrfs:
        for count in (1000, 10000, 100000):
            got = tool(out, "files", volume, count, 8)
            rows.append(row(f"create, {count} files in one directory", "us/file", "lower",
                            got["create_us"], btrfs.files(count), "btrfs"))
        rows.append(row("snapshot + sync, 100000 files", "ms", "lower", got["snapshot_ms"],
                        btrfs.snapshot_ms(), "btrfs"))
        rows.append(row("rollback + sync, 100000 files", "ms", "lower", got["rollback_ms"]))
    for count in (1000, 10000, 100000, 1000000):
        got = tool(out, "spread", volume, count, 8)
        rows.append(row(f"create, {count} files, 100 in a directory", "us/file", "lower",
                        got["create_us"]))
    got = tool(out, "files", volume, 1000000, 8)
    rows.append(row("create, 1000000 files in one directory", "us/file", "lower",
                    got["create_us"]))
    rows.append(row("snapshot + sync, 1000000 files", "ms", "lower", got["snapshot_ms"]))
    rows.append(row("library memory, 1000000 files, 8 MiB cache", "MiB", "lower",
                    got["memory_mib"], 16.0, "the bound"))
    return rows


def merge(out, rows):
    path = os.path.join(out, "bench.json")
    old = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            old = json.load(f)
    with open(path, "w", encoding="utf-8") as f:
        json.dump([r for r in old if r["area"] != AREA] + rows, f, indent=1)


def main():
    out = sys.argv[1]
    rows = measure(out)
    merge(out, rows)
    for r in rows:
        peer = f"{r['peer']:10.3f} {r['peer_name']}" if r["peer"] else "         -"
        print(f"{r['name']:45} {r['d0']:10.3f} {r['unit']:8} {peer}")


if __name__ == "__main__":
    main()
