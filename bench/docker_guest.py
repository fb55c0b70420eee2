# SPDX-License-Identifier: ISC
"""The peer of bench-docker: a Linux guest (Debian's cloud kernel) with Debian's dockerd, containerd
and runc on an ext4 disk. The packages are unpacked, not installed."""

import glob
import os
import re
import shutil
import subprocess
import sys

PACKAGES = ["docker.io", "containerd", "runc"]
PROGRAMS = ["usr/sbin/dockerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2",
            "usr/sbin/runc"]
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "virtio_blk", "failover", "net_failover", "virtio_net", "crc16", "crc32c_generic",
           "libcrc32c", "mbcache", "jbd2", "ext4", "overlay"]
INITRD = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in {' '.join(MODULES)}; do [ -e /m/$m.ko ] && insmod /m/$m.ko; done
mount -t ext4 /dev/vda /root
mount --move /dev /root/dev
exec switch_root /root /init
"""
INIT = """#!/bin/sh
export PATH=/bin:/usr/bin:/usr/sbin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 cg /sys/fs/cgroup
for c in cpu memory pids io; do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
hostname linux
exec dockerd -H tcp://0.0.0.0:2375 --bridge=none --iptables=false --ip-masq=false -s overlay2 \
  --exec-opt native.cgroupdriver=cgroupfs
"""


def release():
    found = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
    if not found:
        sys.exit("bench-docker: no Debian cloud kernel in /boot (package linux-image-cloud-amd64)")
    return found[-1].split("vmlinuz-")[1]


def libraries(path):
    text = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", text)
    if missing:
        sys.exit(f"bench-docker: {os.path.basename(path)} needs {missing}")
    return re.findall(r"(/\S+) \(0x", text)


def packages(where):
    """The programs out of Debian's packages, once."""
    root = f"{where}/pkg"
    if not os.path.exists(f"{root}/usr/sbin/dockerd"):
        os.makedirs(root, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=where, check=True, timeout=300,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for deb in glob.glob(f"{where}/*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    return root


def busybox(root, names):
    os.makedirs(f"{root}/bin", exist_ok=True)
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for name in names:
        os.symlink("busybox", f"{root}/bin/{name}")


def put(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, 0o755)


def disk(tmp, where):
    pkg, root, out = packages(where), f"{tmp}/linux", f"{tmp}/linux.img"
    for d in ("proc", "sys", "dev", "run", "tmp", "etc", "root", "var/lib", "usr/bin", "usr/sbin"):
        os.makedirs(f"{root}/{d}")
    busybox(root, ("sh", "mount", "mkdir", "ifconfig", "route", "hostname", "echo", "cat"))
    for p in PROGRAMS:
        shutil.copy(f"{pkg}/{p}", f"{root}/{p}")
        for lib in libraries(f"{pkg}/{p}"):
            os.makedirs(root + os.path.dirname(lib), exist_ok=True)
            if not os.path.exists(root + lib):
                shutil.copy(lib, root + lib)
    put(f"{root}/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    put(f"{root}/etc/group", "root:x:0:\n")
    put(f"{root}/init", INIT)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", root, out, "1G"], check=True)
    return out


def initrd(tmp):
    root, out = f"{tmp}/initrd.d", f"{tmp}/initrd"
    for d in ("m", "proc", "sys", "dev", "root"):
        os.makedirs(f"{root}/{d}")
    busybox(root, ("sh", "mount", "insmod", "switch_root", "["))
    for m in MODULES:
        for path in glob.glob(f"/lib/modules/{release()}/kernel/**/{m}.ko", recursive=True)[:1]:
            shutil.copy(path, f"{root}/m/")
    put(f"{root}/init", INITRD)
    subprocess.run(f"cd {root} && find . | cpio -o -H newc --quiet > {out}", shell=True, check=True)
    return out
