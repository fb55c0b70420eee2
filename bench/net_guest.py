# SPDX-License-Identifier: ISC
"""A D0 container (linux cell, transport cell, nic cell) beside a Linux guest (container namespace,
veth, bridge) in the same QEMU with the same card: TCP throughput, round trips, packets and
requests per second. The same static server runs in both; the client is outside, on a TAP device
in a network namespace. Needs root. Merges its rows into build/bench.json. CARD names QEMU's
model (virtio-net-pci, e1000, e1000e, vmxnet3), ONLY the work (upload,download,...), NIC more
arguments of the nic cell, PCAP a file for what passes; the argument d0 or linux leaves out the
other."""

import glob
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import BUILD, publish, row  # noqa: E402

NS = f"d0guest{os.getpid()}"
GUEST = "10.78.0.2"
SECONDS = float(os.environ.get("SECONDS", "5"))
RUNS = int(os.environ.get("RUNS", "3"))
CPUS = os.environ.get("CPUS", "2")
CARD = os.environ.get("CARD", "virtio-net-pci")
AREA = "net-guest" if CARD.startswith("virtio") else f"net-guest-{CARD}"
PCAP = ["-object", f"filter-dump,id=f,netdev=n,file={os.environ['PCAP']}"] \
    if "PCAP" in os.environ else []
NIC = f"args nic {os.environ['NIC']}" if "NIC" in os.environ else ""
CONF = f"""
cell nic image=nic heap=4M stack=64K channels=32 priority=6 restart=always
{NIC}
device nic class=0200
cell net image=transport heap=4M stack=64K state=1M channels=8 priority=5
args net ip={GUEST}/24 gw=10.78.0.1 noipv6
channel nic net protocol=net ring=512K label=eth0 server_args=mac=02:00:00:00:00:aa,ip={GUEST}
cell web image=linux user=64M stack=32K heap=64K channels=8 priority=3 data=root
args web argv=/server env=PATH=/
channel net web protocol=socket ring=2M label=sockets
"""
# A transport cell alone, as small as it is useful, and the monitor to start it.
SMALL = f"""
cell nic image=nic heap=4M stack=64K channels=32 priority=6 restart=always
device nic class=0200
cell net image=transport heap=512K stack=16K state=256K channels=8 priority=5
args net ip={GUEST}/24 noipv6
channel nic net protocol=net ring=128K label=eth0 server_args=mac=02:00:00:00:00:aa,ip={GUEST}
cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,power,console,control
"""
DRIVER = {"virtio-net-pci": ["virtio_ring", "virtio", "virtio_pci_legacy_dev",
                             "virtio_pci_modern_dev", "virtio_pci", "failover", "net_failover",
                             "virtio_net"],
          "e1000": ["e1000"],
          "e1000e": ["pps_core", "ptp", "e1000e"],
          "vmxnet3": ["vmxnet3"]}[CARD]
MODULES = DRIVER + ["llc", "stp", "bridge", "veth"]
INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /run/netns
mount -t tmpfs run /run
for m in {' '.join(MODULES)}; do insmod /m/$m.ko; done
/sbin/ip link add br0 type bridge
/sbin/ip link set br0 up
/sbin/ip link set eth0 master br0
/sbin/ip link set eth0 up
/sbin/ip netns add c
/sbin/ip link add v0 type veth peer name v1 netns c
/sbin/ip link set v0 master br0
/sbin/ip link set v0 up
/sbin/ip -n c link set lo up
/sbin/ip -n c addr add {GUEST}/24 dev v1
/sbin/ip -n c link set v1 up
exec /sbin/ip netns exec c /server
"""


def sh(line, check=True):
    return subprocess.run(line.split(), check=check, capture_output=True, text=True, timeout=60)


def inside(*argv, timeout=60):
    return subprocess.run(["ip", "netns", "exec", NS, *argv], capture_output=True, text=True,
                          timeout=timeout, check=True).stdout


def release():
    """A Debian kernel that knows the card: the cloud kernel, which has no module for Intel's, or
    the general one."""
    for kind in ("cloud-amd64", "[0-9]-amd64"):
        for kernel in sorted(glob.glob(f"/boot/vmlinuz-*{kind}"), reverse=True):
            name = kernel.split("vmlinuz-")[1]
            if glob.glob(f"/lib/modules/{name}/kernel/**/{DRIVER[-1]}.ko", recursive=True):
                return name
    sys.exit(f"bench-net-guest: no kernel in /boot has {DRIVER[-1]} (packages/bench)")


def initrd(tmp):
    """Busybox, ip with its libraries, the modules and the server."""
    root = f"{tmp}/root"
    for d in ("bin", "sbin", "m", "proc", "sys", "dev", "run"):
        os.makedirs(f"{root}/{d}")
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for name in ("sh", "mount", "mkdir", "insmod"):
        os.symlink("busybox", f"{root}/bin/{name}")
    ip = shutil.which("ip")
    shutil.copy(ip, f"{root}/sbin/ip")
    for lib in re.findall(r"(/\S+) \(0x", sh(f"ldd {ip}").stdout):
        os.makedirs(root + os.path.dirname(lib), exist_ok=True)
        shutil.copy(lib, root + lib)
    for m in MODULES:
        found = glob.glob(f"/lib/modules/{release()}/kernel/**/{m}.ko", recursive=True)
        if found:
            shutil.copy(found[0], f"{root}/m/")
    shutil.copy(f"{BUILD}/bench/guest_server", f"{root}/server")
    with open(f"{root}/init", "w", encoding="utf-8") as f:
        f.write(INIT)
    os.chmod(f"{root}/init", 0o755)
    out = f"{tmp}/initrd"
    subprocess.run(f"cd {root} && find . | cpio -o -H newc --quiet > {out}", shell=True, check=True)
    return out


def archive(tmp, conf=CONF):
    root = f"{tmp}/cellroot"
    os.makedirs(root, exist_ok=True)
    shutil.copy(f"{BUILD}/bench/guest_server", f"{root}/server")
    subprocess.run(["tar", "--format=ustar", "-C", root, "-cf", f"{tmp}/root.tar", "."], check=True)
    with open(f"{tmp}/conf", "w", encoding="utf-8") as f:
        f.write(conf)
    argv = [f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key", "--out",
            f"{tmp}/archive", "--conf", f"{tmp}/conf", "--nucleus", f"{BUILD}/d0.elf"]
    for c in ("nic", "transport", "monitor"):
        argv += ["--cell", f"{c}={BUILD}/cells/{c}.elf"]
    argv += ["--cell", f"linux={BUILD}/cells/linux.elf,high", "--data", f"root={tmp}/root.tar"]
    subprocess.run(argv, check=True)
    return f"{tmp}/archive"


class Guest:
    def __init__(self, boot):
        self.log = ""
        self.p = subprocess.Popen(
            ["ip", "netns", "exec", NS, "qemu-system-x86_64", "-M", "q35", "-accel",
             "tcg,thread=multi", "-cpu", "max", "-m", "512", "-smp", CPUS, "-display", "none",
             "-no-reboot", "-nic", "none", "-chardev", "stdio,id=con,signal=off", "-serial",
             "chardev:con", "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
             "-device", f"{CARD},netdev=n,mac=52:54:00:01:02:03", *PCAP, *boot],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def expect(self, pattern, seconds):
        end = time.time() + seconds
        while not re.search(pattern, self.log):
            left = end - time.time()
            if left <= 0 or self.p.poll() is not None:
                raise RuntimeError(f"no {pattern} from the guest:\n{self.log[-3000:]}")
            if select.select([self.p.stdout], [], [], min(left, 1))[0]:
                self.log += os.read(self.p.stdout.fileno(), 65536).decode("utf-8", "replace")
        return self.log

    def type(self, text):
        for c in text:
            self.p.stdin.write(c.encode())
            self.p.stdin.flush()
            time.sleep(0.01)

    def cpu(self):
        """Seconds of CPU that the emulator has used."""
        return sum(int(open(f"/proc/{self.p.pid}/task/{t}/schedstat").read().split()[0])
                   for t in os.listdir(f"/proc/{self.p.pid}/task")) / 1e9

    def stop(self):
        self.p.kill()
        self.p.wait()


def run_load(what):
    return float(inside(f"{BUILD}/bench/load", GUEST, what, str(SECONDS)))


def run_wrk(connections):
    text = inside("wrk", "-t1", f"-c{connections}", f"-d{SECONDS:.0f}s", f"http://{GUEST}/")
    return float(re.search(r"Requests/sec:\s*([\d.]+)", text).group(1))


WORK = {"upload": lambda: run_load("upload") * 8 / 1e6,
        "download": lambda: run_load("download") * 8 / 1e6,
        "pingpong": lambda: run_load("pingpong"),
        "packets": lambda: run_load("packets"),
        "http1": lambda: run_wrk(1),
        "http16": lambda: run_wrk(16)}


WORKS = os.environ["ONLY"].split(",") if "ONLY" in os.environ else list(WORK)


def measure(g, readings):
    """The speed of each work, and what one unit of it cost the emulator in CPU time: that
    moves less with the load of the machine."""
    inside(f"{BUILD}/bench/load", GUEST, "answer", "30")  # a card's link may take a while
    run_load("pingpong")  # warm
    for name in WORKS:
        cpu, began = g.cpu(), time.time()
        speed = WORK[name]()
        cpu, seconds = g.cpu() - cpu, time.time() - began
        rate = 1e6 / speed if name == "pingpong" else speed
        readings.setdefault(name, []).append(speed)
        readings.setdefault(name + "_cpu", []).append(cpu / seconds / rate * 1e6)


def run(boot, readings):
    g = Guest(boot)
    try:
        g.expect("bench server ready", 90)
        time.sleep(1)
        measure(g, readings)
    finally:
        g.stop()


def run_small(tmp, readings):
    """Memory of an idle transport cell; time from the request to start it to an answered ping."""
    g = Guest(["-kernel", f"{BUILD}/d0.elf", "-initrd", archive(tmp, SMALL)])
    try:
        g.expect("eth0 up", 60)
        time.sleep(1)
        g.type("ps\r")
        line = re.search(r" net +transport +running +\d+ +\d+ +\d+ +(\d+) +(\d+)",
                         g.expect(r" net +transport .*\n", 10))
        readings["idle"] = [int(line.group(1)) + int(line.group(2))]
        for _ in range(5):
            g.log = ""
            g.type("stop net\r")
            g.expect(r"cell net ended", 10)
            g.type("start net")
            ping = subprocess.Popen(["ip", "netns", "exec", NS, f"{BUILD}/bench/load", GUEST,
                                     "answer", "10"], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            began = time.monotonic()
            g.type("\r")
            at = float(ping.communicate(timeout=30)[0])
            readings.setdefault("start", []).append((at - began) * 1e3 if at else 1e4)
            g.expect("net: started", 10)
    finally:
        g.stop()


NAMES = [("upload", "TCP to the container", "Mbit/s", "higher", "us/Mbit"),
         ("download", "TCP from the container", "Mbit/s", "higher", "us/Mbit"),
         ("pingpong", "1-byte TCP round trip", "us", "lower", "us"),
         ("packets", "64-byte UDP packets echoed", "1/s", "higher", "us"),
         ("http1", "HTTP, 1 connection", "requests/s", "higher", "us/request"),
         ("http16", "HTTP, 16 connections", "requests/s", "higher", "us/request")]
PEER = "Linux guest, veth + bridge"


def main():
    d0, linux = {}, {}
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    sh(f"ip netns add {NS}")
    try:
        ex = f"ip netns exec {NS} "
        sh(ex + "ip link set lo up")
        sh(ex + "ip tuntap add tap0 mode tap vnet_hdr")
        sh(ex + "ip addr add 10.78.0.1/24 dev tap0")
        sh(ex + "ip link set tap0 up")
        with tempfile.TemporaryDirectory() as tmp:
            ours = ["-kernel", f"{BUILD}/d0.elf", "-initrd", archive(tmp)]
            theirs = ["-kernel", f"/boot/vmlinuz-{release()}", "-initrd", initrd(tmp), "-append",
                      "console=ttyS0 quiet panic=-1"]
            if only != "linux" and "ONLY" not in os.environ:
                sh(ex + f"ip neigh replace {GUEST} lladdr 02:00:00:00:00:aa dev tap0")
                run_small(tmp, d0)
                sh(ex + f"ip neigh del {GUEST} dev tap0")
                ours[-1] = archive(tmp)
            for _ in range(RUNS):
                if only != "linux":
                    run(ours, d0)
                    print(json.dumps({k: v[-1] for k, v in d0.items()}), flush=True)
                if only != "d0":
                    run(theirs, linux)
                    print(json.dumps({k: v[-1] for k, v in linux.items()}), flush=True)
    finally:
        sh(f"ip netns del {NS}", False)
    names = [n for n in NAMES if n[0] in WORKS]
    rows = [row(AREA, name, unit, better, d0.get(k), linux.get(k), PEER)
            for k, name, unit, better, _ in names]
    rows += [row(AREA, f"{name}: CPU", cost, "lower", d0.get(f"{k}_cpu"),
                 linux.get(f"{k}_cpu"), PEER) for k, name, _, _, cost in names]
    rows.append(row(AREA, "idle transport cell, 256 sockets", "KiB", "lower",
                    d0.get("idle"), 1024, "limit"))
    rows.append(row(AREA, "start request on the console to an answered ping", "ms", "lower",
                    d0.get("start"), 20, "limit"))
    publish(AREA, rows)


if __name__ == "__main__":
    main()
