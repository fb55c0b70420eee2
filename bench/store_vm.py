# SPDX-License-Identifier: ISC
"""Files on a virtio disk in QEMU: a container of D0 (its guest kernel, virtio-fs, the store
cell, HAMMER2) beside a Linux guest with btrfs on an equal disk, both with one CPU, in turns."""

import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import BUILD, TOP, publish, row  # noqa: E402
import nucleus  # noqa: E402
from nucleus import archive, kernel, qemu  # noqa: E402

if os.environ.get("ICOUNT"):  # the guest's clock counts instructions; it waits for the disk in real time
    nucleus.QEMU = [a.replace("thread=multi", "thread=single") for a in nucleus.QEMU] + [
        "-icount", "shift=0,sleep=on"]
RUNS = int(os.environ.get("RUNS", "1" if os.environ.get("ICOUNT") else "3"))
CPUS = os.environ.get("CPUS", "1")
MIB = 16
MODULES = ["virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev",
           "virtio/virtio_pci_modern_dev", "virtio/virtio_pci", "block/virtio_blk"]
BTRFS = ["crypto/xor", "lib/raid6/raid6_pq", "lib/zstd/zstd_compress", "lib/libcrc32c", "fs/btrfs/btrfs"]
CONF = """
cell store image=store heap=13M stack=64K channels=32 priority=5
args store d0.store=disk:0
device store class=0100
cell box image=linux user=64M stack=32K heap=64K channels=8 priority=3
args box argv=/bin/io
channel store box protocol=fs ring=1M label=root server_args=pfs=box
"""
ROWS = [("read_us", f"read {MIB} MiB, cold", "MB/s"), ("again_us", f"read {MIB} MiB again", "MB/s"),
        ("random_us", "read 4 KiB at random, cold", "us"),
        ("write_us", f"write {MIB} MiB, fsync", "MB/s"), ("fsync_us", "append 4 KiB, fsync", "us")]


def files(folder):
    for name in ("cold", "random"):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(random.Random(name).randbytes(MIB << 20))


def d0fs(*args):
    subprocess.run([f"{BUILD}/bin/d0fs", *args], check=True, stdout=subprocess.DEVNULL)


def d0_disk(tmp):
    disk, tree = os.path.join(tmp, "d0.disk"), os.path.join(tmp, "tree")
    os.makedirs(os.path.join(tree, "bin"), exist_ok=True)
    shutil.copy(f"{BUILD}/bench/store-vm-io", os.path.join(tree, "bin", "io"))
    files(tree)
    d0fs("newfs", "-s", "512M", disk)
    d0fs("create", disk, "box")
    d0fs("cp", "-r", disk, tree + "/", "box:/")
    return disk


def linux_disk(tmp, csum):
    disk, tree = os.path.join(tmp, csum), os.path.join(tmp, "peer")
    os.makedirs(tree, exist_ok=True)
    files(tree)
    with open(disk, "wb") as f:
        f.truncate(512 << 20)
    subprocess.run(["mkfs.btrfs", "-q", "--csum", csum, "--rootdir", tree, disk], check=True)
    return disk


def initrd(tmp):
    root, out = os.path.join(tmp, "initrd.d"), os.path.join(tmp, "initrd")
    os.makedirs(os.path.join(root, "modules"))
    for name in ("mnt", "dev"):
        os.mkdir(os.path.join(root, name))
    shutil.copy(f"{BUILD}/bench/store-vm-io", os.path.join(root, "init"))
    base = glob.glob("/lib/modules/" + os.path.basename(kernel()).removeprefix("vmlinuz-") + "/kernel")[0]
    for i, name in enumerate(["drivers/" + m for m in MODULES] + BTRFS):
        shutil.copy(f"{base}/{name}.ko", os.path.join(root, "modules", f"{i:02}"))
    listed = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    with open(out, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=listed, check=True,
                       stdout=f)
    return out


def measure(args, disk, tmp, readings):
    copy = os.path.join(tmp, "disk")
    shutil.copy(disk, copy)
    text = qemu(args + ["-smp", CPUS, "-drive", f"if=none,id=d,format=raw,file={copy}",
                        "-device", "virtio-blk-pci,drive=d"], r"bench (done|FAILED).*\n", 120, tmp)
    if "bench done" not in text:
        print(text[-2000:], file=sys.stderr)
        return
    started = re.search(r"cell_started: store \(cell \d+, (\d+) KiB\)", text)
    if started:
        readings["memory"] = int(started.group(1)) / 1024
    for name, _, unit in ROWS:
        value = float(re.search(rf"bench {name} (\d+)", text).group(1))
        readings.setdefault(name, []).append((MIB << 20) / value if unit == "MB/s" else value)


def main():
    mine, peers = {}, {"crc32c": {}, "sha256": {}}
    with tempfile.TemporaryDirectory() as tmp:
        conf = archive(CONF, ["store"], tmp, [f"linux={BUILD}/cells/linux.elf,high"])
        disk, ram = d0_disk(tmp), initrd(tmp)
        disks = {csum: linux_disk(tmp, csum) for csum in peers}
        for _ in range(RUNS):
            measure(["-kernel", f"{BUILD}/d0.elf", "-initrd", conf], disk, tmp, mine)
            for csum, readings in peers.items():
                measure(["-kernel", kernel(), "-initrd", ram, "-append",
                         "console=ttyS0 quiet loglevel=0 panic=-1 -- btrfs"], disks[csum], tmp, readings)
    publish("store-vm", [
        row("store-vm", f"{text} ({csum})" if csum == "sha256" else text, unit,
            "higher" if unit == "MB/s" else "lower", mine.get(name), readings.get(name),
            f"Linux 6.1 in the same QEMU, btrfs --csum {csum}")
        for csum, readings in peers.items() for name, text, unit in ROWS] + [
            row("store-vm", "memory of the store cell, default cache", "MiB", "lower", mine.get("memory"), 16,
                "the limit")])


if __name__ == "__main__":
    os.chdir(TOP)
    main()
