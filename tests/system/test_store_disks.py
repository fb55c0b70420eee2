# SPDX-License-Identifier: ISC
"""Corners of the store's disks in QEMU: large sectors, line interrupts, an IOMMU, media that fail to
read, write or flush, a disk that is taken away, and a store that is restarted in the middle."""

import subprocess
import time

import pytest
from test_store_cell import D0FS, conf, d0fs, volume

IOMMU = ["-device", "intel-iommu,intremap=on"]
WRITE, VERIFY = ("mode={} files=10 size=700000 seed=5".format(m) for m in ("write", "verify"))
CASES = {  # the class, and QEMU's arguments after -drive
    "virtio-4k": ("0100", ["-device", "virtio-blk-pci,drive=d,logical_block_size=4096,physical_block_size=4096"]),
    "nvme-4k": ("0108", ["-device", "nvme,drive=d,serial=d0,logical_block_size=4096,physical_block_size=4096"]),
    "virtio-intx": ("0100", ["-device", "virtio-blk-pci,drive=d,vectors=0"]),
    "virtio-iommu": ("0100", IOMMU + ["-device", "virtio-blk-pci,drive=d,disable-legacy=on,iommu_platform=on"]),
    "nvme-iommu": ("0108", IOMMU + ["-device", "nvme,drive=d,serial=d0"]),
    "ahci-iommu": ("0106", IOMMU + ["-device", "ide-hd,drive=d,bus=ide.0"]),
}


@pytest.fixture
def run(archive, boot):
    def start(path, client, case="virtio-plain", drive="driver=raw,file.filename={}", extra="", clients=None):
        pci_class, args = CASES.get(case, ("0100", ["-device", "virtio-blk-pci,drive=d"]))
        text = conf(args="d0.store=disk:0,sync=1", clients=clients or [("root", client)])
        text += f"device store class={pci_class}\n{extra}"
        return boot(archive(text, cells=["store", "store-probe", "monitor"]),
                    extra=["-drive", "if=none,id=d," + drive.format(path), *args])
    return start


MONITOR = "cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,power,console,control\n"


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.long if c in ("ahci-iommu", "nvme-4k") else ())
                                  for c in sorted(CASES)])
def test_kinds_of_disks(run, tmp_path, case):
    path = volume(tmp_path / "disk")
    vm = run(path, WRITE, case)
    vm.expect(r"probe: ok write", timeout=90, absent="FAILED")
    if "4k" in case:
        assert vm.find(r"sectors of 4096")
    if "iommu" in case:
        assert not vm.find(r"no IOMMU"), vm.tail()
    vm.stop()  # power cut: what was synced is there
    d0fs("check", path)
    vm = run(path, VERIFY, case)
    vm.expect(r"probe: ok verify", timeout=90, absent="FAILED")


def debug(tmp_path, *rules):
    """A disk with errors: QEMU's blkdebug over the file."""
    config = tmp_path / "rules"
    config.write_text("".join("[inject-error]\n" + "".join(f'{k} = "{v}"\n' for k, v in r.items()) + "\n"
                              for r in rules))
    return f"driver=raw,file.driver=blkdebug,file.config={config},file.image.driver=file," \
           "file.image.filename={}"


def test_sectors_that_do_not_read(run, tmp_path):
    """EIO for that file and a word about it; everything else is served."""
    path = volume(tmp_path / "disk")
    d0fs("create", path, "other")
    vm = run(path, WRITE)
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")
    vm.stop()
    d0fs("cp", path, "root:/probe/3", tmp_path / "content")
    with open(path, "rb") as f, open(tmp_path / "content", "rb") as g:
        at = f.read().find(g.read()[131072:131072 + 512])
    assert at > 0
    vm = run(path, None, drive=debug(tmp_path, {"event": "read_aio", "errno": 5, "sector": at // 512,
                                                "once": "off"}),
             clients=[("root", VERIFY), ("other", WRITE.replace("seed=5", "seed=9"))])
    for _ in range(2):
        vm.expect(r"probe: (ok write|FAILED call\(\) == 0 \(-5\))", timeout=60)
    assert vm.find(r"probe1: probe: ok write") and vm.find(r"probe0: probe: FAILED")
    assert vm.find(rf"volume: read failed: offset {at:#x}, 65536 bytes, PFS 'root'"), vm.tail()
    assert not vm.find(r"cell_(failed|ended): cell store")


@pytest.mark.parametrize("event", ["write_aio", "flush_to_disk"])
def test_writes_that_fail(run, tmp_path, event):
    """The volume turns read-only at once, what was synced before is there, nothing hangs."""
    path = volume(tmp_path / "disk")
    vm = run(path, WRITE)
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")
    vm.stop()
    again = WRITE.replace("seed=5", "seed=6")
    vm = run(path, again, drive=debug(tmp_path, {"event": event, "errno": 5, "once": "off"}), extra=MONITOR)
    vm.expect(r"probe: FAILED .* \((-5|-30)\)", timeout=60)
    assert vm.find(r"(write|flush) failed"), vm.tail()
    vm.command("ps", r"^monitor: +\d+ store +\S+ +running +1 +1 ")
    vm.stop()
    d0fs("check", path)
    vm = run(path, VERIFY)
    vm.expect(r"probe: ok verify", timeout=60, absent="FAILED")


def test_a_disk_that_is_taken_away(run, tmp_path):
    path = volume(tmp_path / "disk")
    vm = run(path, WRITE.replace("files=10", "files=100"), extra=MONITOR)
    vm.expect(r"channel 0: PFS 'root'", timeout=60)
    time.sleep(0.5)
    vm.qmp("human-monitor-command", **{"command-line": "drive_del d"})
    vm.expect(r"probe: FAILED .* \((-5|-30)\)", timeout=60)
    vm.command("ps", r"^monitor: +\d+ store +\S+ +running +1 +1 ")
    vm.stop()
    d0fs("check", path)


def test_the_store_is_restarted_under_a_client(run, tmp_path):
    """The client's node numbers hold, files are read and written on without opening them again, one that
    was unlinked while it was open is there no more, and the volume is consistent."""
    path = volume(tmp_path / "disk")
    vm = run(path, "mode=restart files=10 size=700000", extra=MONITOR)
    for _ in range(3):
        vm.expect(r"probe: working", timeout=60, absent="FAILED")
        vm.command("restart store", r"monitor: store: restarted")
    vm.expect(r"probe: ok restart", timeout=90, absent="FAILED")
    assert len(vm.find(r"probe: connected again")) == 3
    vm.stop()
    assert subprocess.run([D0FS, "-q", "check", path], check=False).returncode == 0
