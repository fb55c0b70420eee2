# SPDX-License-Identifier: ISC
"""The store cell in QEMU: volumes in memory and on disks, its clients, and what it does not
touch. A native client (cells/store/probe) does the FUSE requests; the disk image is then
checked by d0fs."""

import hashlib
import os
import subprocess
import time

import pytest
from machine import BUILD
from test_store_images import layer, make_oci, member

D0FS = os.path.join(BUILD, "bin", "d0fs")

CONF = """
cell store image=store heap={heap} stack=64K channels=96 priority=5 restart=on-failure
args store {args}
{devices}
"""
CLIENT = """
cell {name} image=store-probe heap=1M stack=32K channels=4 priority=3
args {name} {args}
channel store {name} protocol=fs ring=1M label=fs server_args=pfs={pfs}{more}
"""
DISKS = {
    "virtio": ["-drive", "if=none,id=d,format=raw,file={}", "-device", "virtio-blk-pci,drive=d"],
    "nvme": ["-drive", "if=none,id=d,format=raw,file={}", "-device", "nvme,drive=d,serial=d0"],
    "ahci": ["-drive", "if=none,id=d,format=raw,file={}", "-device", "ide-hd,drive=d,bus=ide.0"],
}
CLASSES = {"virtio": "0100", "nvme": "0108", "ahci": "0106"}


def conf(args="", heap="24M", disk=None, clients=()):
    text = CONF.format(args=args or "log=2", heap=heap,
                       devices=f"device store class={CLASSES[disk]}" if disk else "")
    for i, client in enumerate(clients):
        pfs, client_args, more = (client + ("",))[:3]
        text += CLIENT.format(name=f"probe{i}", args=client_args, pfs=pfs, more=more)
    return text


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def d0fs(*args):
    return subprocess.run([D0FS, *map(str, args)], check=True, timeout=60, text=True,
                          stdout=subprocess.PIPE).stdout


def volume(path, size="96M"):
    d0fs("newfs", "-s", size, "-L", "root", path)
    return str(path)


@pytest.fixture
def run(archive, boot):
    def start(text, disk=None, path=None, data=None):
        extra = [a.format(path) for a in DISKS[disk]] if disk else []
        return boot(archive(text, cells=["store", "store-probe"], data=data), extra=extra)
    return start


def test_volume_in_memory(run):
    vm = run(conf(args="d0.store=ram,size=40M", heap="40M", clients=[
        ("root", "mode=write files=6 size=300000")]))
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")


def test_boot_image(run, tmp_path):
    path = volume(tmp_path / "image", "40M")
    text = conf(args="log=2", heap="40M", clients=[("root", "mode=write files=4")])
    vm = run(text.replace("image=store ", "image=store data=vol "), data={"vol": path})
    vm.expect(r"in memory", timeout=60)
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")


def test_read_only_client_and_hostile_neighbour(run):
    vm = run(conf(args="d0.store=ram,size=40M", heap="40M", clients=[
        ("root", "mode=hostile"), ("LOCAL", "mode=write files=2"),
        ("root", "mode=readonly", ",ro=1")]))
    for _ in range(3):
        vm.expect(r"probe: ok \w+,", timeout=60, absent="FAILED")
    assert {m.group(1) for m in vm.find(r"probe: ok (\w+)")} == {"hostile", "write", "readonly"}
    assert vm.find(r"its session is closed")


def test_admin_channel(run, tmp_path):
    path = volume(tmp_path / "disk")
    text = conf(args="d0.store=disk:0", disk="virtio") + """
cell probe image=store-probe heap=1M stack=64K channels=4 priority=3
args probe mode=admin
channel store probe protocol=admin ring=64K label=admin
"""
    vm = run(text, "virtio", path)
    vm.expect(r"probe: ok admin", timeout=90, absent="FAILED")
    vm.stop()
    d0fs("check", path)
    d0fs("images", path, "verify", "hello:1")
    assert d0fs("cat", path, "container:/hello") == "hello from an image\n"
    assert d0fs("cat", path, "container:/d/through") == "links"
    assert d0fs("cat", path, "container:/" + "d/" * 240 + "f") == "deep"


@pytest.mark.parametrize("disk", sorted(DISKS))
def test_disk(run, tmp_path, disk):
    path = volume(tmp_path / "disk")
    vm = run(conf(args="d0.store=disk:0,sync=1", disk=disk, clients=[
        ("root", "mode=write files=10 size=700000 seed=5")]), disk, path)
    vm.expect(r"probe: ok write", timeout=90, absent="FAILED")
    vm.stop()  # power cut: what was synced is there
    d0fs("check", path)
    vm = run(conf(args="d0.store=disk:0,readonly", disk=disk, clients=[
        ("root", "mode=verify files=10 size=700000 seed=5")]), disk, path)
    before = digest(path)
    vm.expect(r"probe: ok verify", timeout=90, absent="FAILED")
    vm.stop()
    assert digest(path) == before


def test_an_idle_store_sleeps(boot, archive, tmp_path):
    """Interrupts of writes that ended behind everybody's back do not keep it awake."""
    path = volume(tmp_path / "disk")
    text = conf(args="d0.store=disk:0,sync=1", disk="virtio", clients=[
        ("root", "mode=write files=4 size=700000")])
    text += "cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,console\n"
    vm = boot(archive(text, cells=["store", "store-probe", "monitor"]),
              extra=[a.format(path) for a in DISKS["virtio"]])
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")
    time.sleep(1.5)  # its last sync
    used = [int(vm.command("ps", r"^monitor: +\d+ store +\S+ +running +1 +1 +(\d+) ").group(1))]
    time.sleep(3)
    used += [int(vm.command("ps", r"^monitor: +\d+ store +\S+ +running +1 +1 +(\d+) ").group(1))]
    # One that is kept awake uses all of them, on a busy machine too.
    assert used[1] - used[0] < 1500, "milliseconds of CPU time in 3 idle seconds"


def test_mirror(boot, archive, tmp_path):
    """One disk damaged all over, then one that is new: nothing is lost, both are good at last."""
    a, b = volume(tmp_path / "a"), str(tmp_path / "b")
    with open(b, "wb") as f:
        f.truncate(os.path.getsize(a))

    def start(mode):
        text = conf(args="d0.store=disk:0,mirror=disk:1,sync=1", heap="28M", disk="virtio",
                    clients=[("root", f"mode={mode} files=8 size=500000 seed=7")])
        text += "device store class=0100 index=1\n"
        extra = []
        for name, path in (("d", a), ("e", b)):
            extra += ["-drive", f"if=none,id={name},format=raw,file={path}",
                      "-device", f"virtio-blk-pci,drive={name}"]
        vm = boot(archive(text, cells=["store", "store-probe"]), extra=extra)
        vm.expect(rf"probe: ok {mode}", timeout=60, absent="FAILED")
        return vm

    vm = start("write")
    if not vm.find(r"mirror: virtio-blk1: is equal now"):
        vm.expect(r"mirror: virtio-blk1: is equal now", timeout=60)
    vm.stop()
    for path in (a, b):
        d0fs("check", path)
    with open(a, "r+b") as f:  # every block behind the first reserved area
        for at in range(8 << 20, os.path.getsize(a), 16384):
            f.seek(at + 100)
            byte = f.read(1)
            f.seek(at + 100)
            f.write(bytes([byte[0] ^ 4]))
    assert subprocess.run([D0FS, "-q", "check", a], check=False, stdout=subprocess.DEVNULL).returncode == 4
    vm = start("verify")
    assert vm.find(r"rewritten from a second copy")
    time.sleep(1)  # until the last of it is on the disk
    vm.stop()
    os.unlink(b)
    with open(b, "wb") as f:
        f.truncate(os.path.getsize(a))
    vm = start("verify")
    if not vm.find(r"mirror: virtio-blk1: is equal now"):
        vm.expect(r"mirror: virtio-blk1: is equal now", timeout=60)
    vm.stop()
    d0fs("check", b)


@pytest.mark.parametrize("args, says", [
    ("log=2", "in memory"),
    ("d0.store=disk:0,readonly,create", "contradiction"),
    ("d0.store=disk:0,turbo", "unknown option 'turbo'"),
    ("d0.stor=disk:0", "unknown parameter"),
    ("d0.store=disk:0", "can't be mounted"),
    ("d0.store=disk:0,create", "not blank"),
])
def test_disk_is_not_touched(run, tmp_path, args, says):
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(1 << 20) + bytes(63 << 20))
    before = digest(path)
    vm = run(conf(args=args, heap="48M", disk="virtio"), "virtio", path)
    vm.expect(says, timeout=60)
    vm.stop()
    assert digest(path) == before


def test_only_signed_images(run, tmp_path):
    """require-signed: a root of a signed image is served; one of an image that was changed
    on the disk with good check codes, and one that is no image's, are not."""
    path, key, evil = volume(tmp_path / "disk"), tmp_path / "key", tmp_path / "evil"
    key_id = d0fs("key", "new", key).strip()
    good = make_oci(tmp_path / "good", [layer(lambda t: member(t, "file", b"good"))], ref="good")
    bad = make_oci(tmp_path / "bad", [layer(lambda t: member(t, "file", b"bad"))], ref="bad")
    for image in (good, bad):
        d0fs("import", "--sign", key, path, tmp_path / ("good" if image == good else "bad"))
    evil.write_bytes(b"evil")
    d0fs("cp", path, evil, f"img-{bad}:/file")
    d0fs("snapshot", path, f"img-{good}", "good")
    d0fs("rename", path, "good", "web")
    d0fs("snapshot", path, f"img-{bad}", "changed")
    d0fs("check", path)
    vm = run(conf(args=f"d0.store=disk:0,require-signed={'0' * 64}+{key_id}", disk="virtio",
                  clients=[("changed", "mode=write files=1"), ("root", "mode=write files=1"),
                           ("web", "mode=write files=1"),
                           ("LOCAL", "mode=write files=1", ",data=1")]), "virtio", path)
    for _ in range(2):
        vm.expect(r"probe: ok write", timeout=60, absent="FAILED")
    assert vm.find(rf"image {bad[:12]} is refused: the tree is not the one")
    assert vm.find(rf"image {good[:12]}: signature and contents verified")
    assert vm.find(r"PFS 'root' is not served")
    vm.stop()
    assert "probe" not in d0fs("ls", path, "changed:/").split()
    assert "probe" in d0fs("ls", path, "web:/").split()


def test_create_on_a_blank_disk(run, tmp_path):
    path = tmp_path / "disk"
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    vm = run(conf(args="d0.store=disk:0,create,comp=none", disk="virtio", clients=[
        ("root", "mode=write files=2")]), "virtio", path)
    vm.expect(r"probe: ok write", timeout=60, absent="FAILED")
    vm.stop()
    d0fs("check", path)
