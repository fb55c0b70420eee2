# SPDX-License-Identifier: ISC
"""Words of the kernel's command line: what the signed configuration asks for by name reaches a
cell, nothing else does."""

import hashlib
import os
import subprocess

from machine import BUILD

CONF = """
cell monitor image=monitor heap=64K stack=32K channels=4 priority=6 caps=inspect,power,console
cell store image=store heap=24M stack=64K channels=16 priority=5
{boot}
device store class=0100
"""


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def start(boot, archive, disk, statement, append):
    m = boot(archive(CONF.format(boot=statement), ["monitor", "store"]), mem="128M", append=append,
             extra=["-drive", f"if=none,id=d,format=raw,file={disk}", "-device",
                    "virtio-blk-pci,drive=d"])
    m.expect(r"^d0: ready")
    return m


def test_the_disk_is_chosen_at_boot(boot, archive, tmp_path):
    disk = str(tmp_path / "disk")
    subprocess.run(["truncate", "-s", "64M", disk], check=True)
    blank = digest(disk)
    for statement, append in (("args store @d0.store", ""), ("", "d0.store=disk:0,create")):
        m = start(boot, archive, disk, statement, append)
        m.expect(r"^store: .*in memory", timeout=20)
        m.stop()
        assert digest(disk) == blank
    m = start(boot, archive, disk, "args store @d0.store", "quiet d0.store=disk:0,create x=1")
    m.expect(r"^store: volume of .*virtio-blk0", timeout=20)
    m.stop()
    subprocess.run([os.path.join(BUILD, "bin", "d0fs"), "check", disk], check=True, timeout=60)
