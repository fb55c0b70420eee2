# SPDX-License-Identifier: ISC
"""d0fs mount: the FUSE server under Linux's own client."""

import errno
import os
import random
import shutil
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


@pytest.fixture
def peer(tmp_path):
    """ext4, or what the host has here where a loop device can't be had."""
    image, mnt = tmp_path / "ext4", tmp_path / "peer"
    mnt.mkdir()
    with open(image, "wb") as f:
        f.truncate(128 << 20)
    made = shutil.which("mkfs.ext4") and \
        subprocess.run(["mkfs.ext4", "-q", image], check=False).returncode == 0 and \
        subprocess.run(["mount", "-o", "loop", image, mnt], check=False).returncode == 0
    yield mnt
    if made:
        subprocess.run(["umount", mnt], check=False)


def one_operation(rng):
    """A function of the root, so that both sides get the same."""
    names = [f"{d}{f}" for d in ("", "d0/", "d1/", "d0/d2/") for f in ("a", "b", "c", "d0", "d1", "d2", "l")]
    one, two, size = rng.choice(names), rng.choice(names), rng.choice([0, 1, 100, 512, 513, 5000, 65536, 200000])
    at, data, mode = rng.choice([0, 1, 511, 65535, 65536, 300000]), rng.randbytes(1) * size, rng.randrange(0o1000)
    follow = {"follow_symlinks": False}

    def write(root):
        with open(root / one, "r+b" if rng_keep else "wb") as f:
            f.seek(at)
            return f.write(data)

    def read(root):
        with open(root / one, "rb") as f:
            return f.read()

    def listed(root):
        return sorted(os.listdir((root / one).parent))
    rng_keep = rng.random() < 0.5
    return rng.choice([
        write, write, write, read, listed,
        lambda r: os.truncate(r / one, at), lambda r: os.rename(r / one, r / two), lambda r: os.link(r / one, r / two, **follow),
        lambda r: os.unlink(r / one), lambda r: os.mkdir(r / one), lambda r: os.rmdir(r / one), lambda r: os.symlink(two, r / one),
        lambda r: os.chmod(r / one, mode), lambda r: os.utime(r / one, ns=(at, at * 1000003), **follow),
        lambda r: os.stat(r / one).st_size if not os.path.isdir(r / one) else 0])


def tree_of(root):
    found = {}
    for base, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(base, name)
            st, body = os.lstat(path), None
            if os.path.islink(path):
                body = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as f:
                    body = f.read()
            folder = os.path.isdir(path) and body is None
            found[os.path.relpath(path, root)] = (st.st_mode, body, 0 if folder else st.st_nlink,
                                                  0 if folder else st.st_size)
    found.pop("lost+found", None)
    return found


@pytest.mark.parametrize("seed", [int(x) for x in os.environ.get("SEEDS", "5,6").split(",")])
def test_random_operations_beside_ext4(mounted, peer, tmp_path, seed):
    volume, mnt, server = mounted
    rng = random.Random(seed)
    done, same = 0, {errno.EEXIST: errno.ENOTEMPTY}  # of a directory that is renamed over: both are right
    for n in range(2500):
        operation, results = one_operation(rng), []
        for root in (mnt, peer):
            try:
                results.append(operation(root))
            except OSError as e:
                results.append(("error", same.get(e.errno, e.errno)))
        results = [[x for x in r if x != "lost+found"] if isinstance(r, list) else r for r in results]
        assert results[0] == results[1], n
        done += not isinstance(results[0], tuple)
    assert tree_of(mnt) == tree_of(peer)
    assert done > 400  # or nothing was shown
    subprocess.run(["umount", mnt], check=True)
    assert server.wait(timeout=20) == 0
    d0fs("check", volume)
    d0fs("cp", "-r", volume, "root:/", tmp_path / "out")  # not out of the kernel's cache
    assert tree_of(tmp_path / "out") == tree_of(peer)
