# SPDX-License-Identifier: ISC
"""d0fs mount: the FUSE server under Linux's own client."""

import os
import subprocess
import time

import pytest
from machine import BUILD

D0FS = os.path.join(BUILD, "bin", "d0fs")


def d0fs(*args):
    subprocess.run([D0FS, *map(str, args)], check=True, timeout=60, stdout=subprocess.DEVNULL)


@pytest.fixture
def mounted(tmp_path):
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    volume, mnt = tmp_path / "volume", tmp_path / "mnt"
    mnt.mkdir()
    d0fs("newfs", "-s", "128M", "-L", "root", volume)
    server = subprocess.Popen([D0FS, "mount", volume, "root", mnt])
    for _ in range(100):
        if os.path.ismount(mnt) or server.poll() is not None:
            break
        time.sleep(0.05)
    if not os.path.ismount(mnt):
        pytest.skip("this machine does not let us mount")
    yield volume, mnt, server
    subprocess.run(["umount", mnt], check=False, stderr=subprocess.DEVNULL)
    server.wait(timeout=20)


def test_linux_as_client(mounted):
    volume, mnt, server = mounted
    subprocess.run(["cp", "-a", "/usr/share/perl", mnt], check=True)
    subprocess.run(["diff", "-r", "--no-dereference", "/usr/share/perl", mnt / "perl"], check=True)
    with open(mnt / "gone", "w+", encoding="utf-8") as f:
        f.write("still here")
        os.unlink(mnt / "gone")
        f.flush()
        f.seek(0)
        assert f.read() == "still here"
    os.setxattr(mnt / "perl", "user.x", b"1")
    assert os.getxattr(mnt / "perl", "user.x") == b"1"
    with open(mnt / "sparse", "wb") as f:
        f.truncate(1 << 32)
        f.seek(1 << 31)
        f.write(b"x")
    os.mknod(mnt / "node", 0o20644, os.makedev(300, 70000))
    assert os.stat(mnt / "node").st_rdev == os.makedev(300, 70000)
    os.link(mnt / "sparse", mnt / "second")
    os.rename(mnt / "second", mnt / "perl" / "third")
    assert os.stat(mnt / "sparse").st_nlink == 2
    subprocess.run(["umount", mnt], check=True)
    assert server.wait(timeout=20) == 0
    d0fs("check", volume)
