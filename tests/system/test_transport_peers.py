# SPDX-License-Identifier: ISC
"""A container on D0 in QEMU and strangers' programs: iperf3 at both ends, nmap, tshark's expert
information over all of it, and a Linux guest with netem as the router between client and
container. The client's end is a TAP device in a network namespace. Needs root."""

import glob
import json
import os
import re
import shutil
import subprocess
import time

import pytest
from machine import TOP, Machine
from test_linux_cell import add_program, cell, pack, tree  # noqa: F401
from test_transport_hosted import D06, LINUX, Net, echo, pytestmark  # noqa: F401

GUEST, NEIGHBOUR, FAR, ROUTER = "10.77.0.2", "10.77.0.3", "10.79.0.2", "10.77.0.254"
NIC = """
cell nic image=nic heap=4M stack=64K channels=32 priority=6 restart=always
device nic class=0200
"""
KERNELS = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
           "failover", "net_failover", "virtio_net", "sch_netem"]
ROUTER_INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in {' '.join(MODULES)}; do insmod /m/$m.ko; done
echo 1 > /proc/sys/net/ipv4/ip_forward
/bin/ip addr add {ROUTER}/24 dev eth0
/bin/ip addr add 10.79.0.1/24 dev eth1
for i in eth0 eth1; do /bin/ip link set $i up; /nogro $i; /bin/tc qdisc add dev $i root netem; done
echo router ready
while read line; do /bin/tc -s qdisc show; for i in eth0 eth1; do /bin/tc qdisc del dev $i root
  /bin/tc qdisc add dev $i root netem $line; done; /bin/tc qdisc show
  echo now: $line; done
"""
# Segments merged by the router would be lost or damaged as one.
NOGRO = """
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
int main(int argc, char **argv)
{
	struct ethtool_value v = {ETHTOOL_SGRO, 0};
	struct ifreq r = {.ifr_data = (void *)&v};
	strncpy(r.ifr_name, argv[1], IFNAMSIZ - 1);
	return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCETHTOOL, &r) != 0;
}
"""


def container(name, address, gateway, argv="/bin/sh,/run.sh"):
    """A container with its stack behind the nic cell."""
    return (f"cell {name}net image=transport heap=4M stack=64K state=1M channels=8 priority=5\n"
            f"args {name}net ip={address}/24 gw={gateway} noipv6\n"
            f"channel nic {name}net protocol=net ring=1M label=eth0 server_args=ip={address}\n" +
            cell(name, f"argv={argv} tmpfs=1 env=PATH=/bin:/usr/bin", user="160M") +
            f"channel {name}net {name} protocol=socket ring=4M label=sockets\n")


def add_server(root):
    """The servers of the benchmarks: echo, discard, chargen, HTTP."""
    subprocess.run(["gcc", "-O2", "-static", "-o", root / "server",
                    f"{TOP}/bench/net/guest_server.c"], check=True)


@pytest.fixture
def net(tmp_path):
    n = Net(tmp_path)
    yield n
    n.close()


@pytest.fixture
def machine(net, boot, archive):
    """machine(conf, tree, *extra): D0 with that configuration, in the namespace."""
    def start(conf, root, *extra):
        return net.inside(lambda: boot(archive(conf, cells=["nic", "transport"], high=["linux"],
                                               data={"root.tar": pack(root)}),
                                       mem="768M", smp=2, extra=extra))
    return start


TAP = ("-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device",
       "virtio-net-pci,netdev=n,mac=52:54:00:01:02:03")


class Capture:
    """tshark's view of what passed the TAP device."""

    def __init__(self, net, path):
        self.path, self.net = str(path), net
        self.proc = subprocess.Popen(["ip", "netns", "exec", net.ns, "tshark", "-q", "-i", "tap0",
                                      "-s", "200", "-w", self.path],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert any("Capturing" in line for line in self.proc.stderr)

    def stop(self):
        """The frames from the container that tshark calls malformed or in error."""
        self.proc.terminate()
        self.proc.communicate(timeout=60)
        return self.net.root(
            "tshark", "-r", self.path, "-Y",
            f"ip.src == {GUEST} && (_ws.malformed || _ws.expert.severity == error) && "
            "!icmp").stdout


def iperf3(net, *args):
    """What the client's run came to: bytes that the receiving ends counted."""
    for _ in range(100):  # its server listens anew for every test
        r = subprocess.run(["ip", "netns", "exec", net.ns, "iperf3", "-c", GUEST, "-t", "2", "-J",
                            "--connect-timeout", "20000", *args], capture_output=True, text=True,
                           timeout=120, check=False)
        said = json.loads(r.stdout)
        if "unable to connect" not in said.get("error", ""):
            break
        time.sleep(0.2)
    assert "error" not in said, (args, said["error"])
    end = said["end"]
    return [end[k]["bytes"] for k in ("sum_received", "sum_received_bidir_reverse", "sum")
            if k in end]


RUN_IPERF3 = f"""
/server &
for o in "" -R --bidir "-u -b 5M" "-u -b 5M -R"; do
  iperf3 -c {LINUX} -t 1 -J $o > /tmp/out; echo "client [$o]" $? $(grep '"error"' /tmp/out)
done
echo serving
exec iperf3 -s
"""


@pytest.mark.long
@pytest.mark.skipif(not all(map(shutil.which, ("iperf3", "nmap", "tshark"))),
                    reason="needs iperf3, nmap and tshark")
def test_iperf3_nmap_and_tshark(net, machine, tree, tmp_path):
    add_program(tree, "/usr/bin/iperf3")
    (tree / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (tree / "run.sh").write_text(RUN_IPERF3)
    add_server(tree)
    listener = subprocess.Popen(["ip", "netns", "exec", net.ns, "iperf3", "-s"],
                                stdout=subprocess.DEVNULL)
    try:
        capture = Capture(net, tmp_path / "peers.pcap")
        vm = machine(NIC + container("a", GUEST, LINUX) + container("b", NEIGHBOUR, LINUX, "/server"),
                     tree, *TAP)
        vm.expect(r"^a: serving", timeout=120)
        for option in ("", "-R", "--bidir", "-u -b 5M", "-u -b 5M -R"):
            assert vm.find(rf"^a: client \[{option}\] 0$"), vm.tail()
        for args in ((), ("-R",), ("--bidir",), ("-P", "4"), ("-P", "4", "-R"),
                     ("-u", "-b", "5M", "-l", "1200"), ("-u", "-b", "5M", "-l", "1200", "-R")):
            got = iperf3(net, *args)
            assert got and min(got) > 200000, (args, got)
        # A scan of one container; the other works meanwhile, and the scanned one afterwards.
        data = os.urandom(100000)
        scans = [subprocess.Popen(["ip", "netns", "exec", net.ns, "nmap", "-n", "-Pn", "-T4",
                                   "--max-retries", "2", *o, GUEST], stdout=subprocess.PIPE,
                                  text=True)
                 for o in (["-sS", "-p1-1000,5201"], ["-sX", "-p1-100"], ["-sU", "-p1-15"],
                           ["-sV", "-p80"], ["-O", "-p7,8"])]
        while any(s.poll() is None for s in scans):
            assert net.inside(lambda: echo(NEIGHBOUR, data)) == data
        said = [s.communicate()[0] for s in scans]
        for port in (7, 9, 19, 80, 5201):
            assert re.search(rf"^{port}/tcp +open ", said[0], re.M), said[0]
        assert "996 closed" in said[0] and "1 host up" in said[4]
        assert net.inside(lambda: echo(GUEST, data)) == data
        assert capture.stop() == ""
        assert not vm.find(r"died|restarted|panic")
    finally:
        listener.kill()
        listener.wait()


# The nic cell joins what these hand up, or takes what they joined, and leaves them TSO where it
# works: behind this TAP device it does.
@pytest.mark.parametrize("card", ["e1000", "e1000e", "vmxnet3"])
def test_transfers_through_every_card(net, boot, archive, monitor, tree, card):
    """Bulk data both ways, byte by byte, over IPv4 and IPv6, in large segments."""
    add_server(tree)
    conf = (NIC + monitor +
            "cell net image=transport heap=4M stack=64K state=1M channels=8 priority=5\n"
            f"args net ip={GUEST}/24 ip6={D06}/64\n"
            f"channel nic net protocol=net ring=1M label=eth0 server_args=ip={GUEST}+{D06}\n" +
            cell("a", "argv=/server,6 env=PATH=/", user="32M") +
            "channel net a protocol=socket ring=4M label=sockets\n")
    vm = net.inside(lambda: boot(
        archive(conf, cells=["nic", "transport", "monitor"], high=["linux"],
                data={"root.tar": pack(tree)}), mem="512M", smp=2,
        extra=[*TAP[:3], f"{card},netdev=n,mac=52:54:00:01:02:03"]))
    vm.expect(r"^a: bench server ready", timeout=60)
    assert vm.find(r"nic: eth0: .* tso" if card != "vmxnet3" else r"nic: eth0: .* lro"), vm.tail()
    for host in (GUEST, D06):
        data = os.urandom(6 << 20)
        assert net.inside(lambda: echo(host, data)) == data
    if card == "vmxnet3":
        assert vm.find(r"^nic: eth0: tso$"), vm.tail()
    said = {"rx_bytes": 0}
    for _ in range(60):  # they are a second old at most
        vm.command("counters nic", r"policies_refused")
        said = {k: int(v) for k, v in re.findall(r"((?:port_)?[rt]x_\w+|port_bad_frames) +(\d+)",
                                                 vm.log, re.M)}
        if said["rx_bytes"] > 12 << 20:
            break
        time.sleep(1)
    # 12 MiB in frames of the MTU are 9,000 each way.
    if card == "vmxnet3":
        assert said["port_rx_packets"] < 5000, said
    else:
        assert said["port_rx_merged"] > said["port_rx_packets"] / 4, said
    if card != "e1000":  # which has no TSO for IPv6
        assert said["tx_packets"] < 6000, said
    assert said["port_bad_frames"] == 0 and not vm.find(r"died|restarted|panic")


def router_initrd(tmp):
    root = tmp / "router"
    for name in ("bin", "m", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in ("sh", "mount", "insmod", "echo"):
        (root / "bin" / name).symlink_to("busybox")
    for name in ("ip", "tc"):
        add_program(root, shutil.which(name))
        (root / "bin" / name).symlink_to(shutil.which(name))
    release = KERNELS[-1].split("vmlinuz-")[1]
    for m in MODULES:
        for found in glob.glob(f"/lib/modules/{release}/kernel/**/{m}.ko", recursive=True):
            shutil.copy(found, root / "m")
    (tmp / "nogro.c").write_text(NOGRO)
    subprocess.run(["gcc", "-static", "-o", root / "nogro", tmp / "nogro.c"], check=True)
    (root / "init").write_text(ROUTER_INIT)
    (root / "init").chmod(0o755)
    out = tmp / "initrd"
    subprocess.run(f"cd {root} && find . | cpio -o -H newc --quiet > {out}", shell=True, check=True)
    return out


class Router(Machine):
    """A Linux guest; its second card is the other end of D0's cable."""

    def __init__(self, cwd, initrd, cable):
        card = "guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_csum=off"
        super().__init__(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256",
             "-display", "none", "-no-reboot", "-nic", "none", "-chardev",
             "stdio,id=con,signal=off", "-serial", "chardev:con", "-kernel", KERNELS[-1],
             "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1",
             "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
             "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:01:02:04,{card}",
             "-netdev", f"dgram,id=c,local.type=unix,local.path={cable}.r,"
             f"remote.type=unix,remote.path={cable}.d0",
             "-device", f"virtio-net-pci,netdev=c,mac=52:54:00:01:02:05,{card}"],
            "pipe", "pipe", cwd)

    def netem(self, words):
        self.send(words + "\r")
        for i in ("eth0", "eth1"):
            self.expect(rf"^qdisc netem .* dev {i} .*{words.split()[0]}")
        self.expect(rf"^now: {re.escape(words)}$")


# Both directions of the path at once, what each should leave a trace of.
PATHS = ["loss 3%", "delay 15ms 5ms", "delay 10ms reorder 75% 50%", "duplicate 5%", "corrupt 2%",
         "loss 1% delay 10ms 3ms 25% duplicate 1% corrupt 1% reorder 90%",
         "delay 5ms rate 8mbit limit 30"]


@pytest.mark.long
@pytest.mark.skipif(not KERNELS or not shutil.which("tc"), reason="needs Debian's cloud kernel")
def test_a_lossy_router(net, machine, machines, tree, tmp_path):
    """The content is compared byte by byte in both directions."""
    cable = f"/tmp/{net.ns}"
    add_server(tree)
    try:
        router = net.inside(lambda: machines(Router, router_initrd(tmp_path), cable))
        router.expect(r"^router ready", timeout=90)
        net.sh(f"ip route add 10.79.0.0/24 via {ROUTER}")
        vm = machine(NIC + container("a", FAR, "10.79.0.1", "/server"), tree, "-netdev",
                     f"dgram,id=n,local.type=unix,local.path={cable}.d0,remote.type=unix,"
                     f"remote.path={cable}.r", "-device", "virtio-net-pci,netdev=n")
        vm.expect(r"^a: bench server ready", timeout=60)
        assert net.inside(lambda: echo(FAR, b"warm")) == b"warm"
        for words in PATHS:
            router.netem(words)
            data = os.urandom(1 << 20)
            assert net.inside(lambda: echo(FAR, data)) == data, words
        assert router.find(r"dev eth1 .*loss 3%.*\n.*dropped [1-9]"), router.tail()
        assert not vm.find(r"died|restarted|panic")
    finally:
        for end in ("r", "d0"):
            if os.path.exists(f"{cable}.{end}"):
                os.unlink(f"{cable}.{end}")
