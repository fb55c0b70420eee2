# SPDX-License-Identifier: ISC
"""The nic cell on bare metal: each card, its switch and a transport cell behind it. The
wire is a pair of datagram sockets; this file is the other end of it."""

import os
import re
import select
import socket
import struct
import time

import pytest
from packets import checksum

READY = r"^d0: ready: "
CARDS = ["virtio-net-pci", "virtio-net-pci,disable-modern=off,vectors=0", "e1000", "e1000e",
         "vmxnet3"]
IDS = ["virtio", "virtio-intx", "e1000", "e1000e", "vmxnet3"]
PCI = {"virtio-net-pci": "1af4:1000", "e1000": "8086:100e", "e1000e": "8086:10d3",
       "vmxnet3": "15ad:07b0"}
ME = bytes.fromhex("020000000001")
PORT = bytes.fromhex("0200000000aa")
MY_IP, IP = bytes([10, 78, 0, 1]), bytes([10, 78, 0, 2])


def ethernet(dst, kind, payload):
    return dst + ME + struct.pack("!H", kind) + payload


def arp_request():
    return ethernet(b"\xff" * 6, 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + ME + MY_IP +
                    bytes(6) + IP)


def echo_request(seq, size):
    data = bytes((i * 7 + seq) & 0xff for i in range(size))
    icmp = struct.pack("!BBHHH", 8, 0, 0, 0x4444, seq) + data
    icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), seq, 0, 64, 1, 0) + MY_IP + IP
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ethernet(PORT, 0x0800, head + icmp), data


class Wire:
    """One end of a cable; QEMU has the other."""

    def __init__(self, path):
        self.mine, self.theirs = f"{path}/wire", f"{path}/card"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.mine)

    def netdev(self):
        return (f"dgram,id=n,local.type=unix,local.path={self.theirs},"
                f"remote.type=unix,remote.path={self.mine}")

    def send(self, frame):
        try:
            self.sock.sendto(frame, socket.MSG_DONTWAIT, self.theirs)
        except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
            pass  # the card does not take frames, or is not there yet: lost, as on a wire

    def receive(self, timeout):
        """The next frame; who asks for our address is answered, as a host would."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return None
        frame = self.sock.recv(70000)
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == MY_IP:
            self.send(frame[6:12] + ME + frame[12:20] + b"\0\2" + ME + MY_IP + frame[22:32])
        return frame

    def answer(self, request, match, seconds=20, again=1.0):
        """Sends the request until a frame matches."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send(request)
            until = time.monotonic() + again
            while time.monotonic() < until:
                frame = self.receive(until - time.monotonic())
                if frame and match(frame):
                    return frame
        return None

    def resolve(self):
        got = self.answer(arp_request(), lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2"
                          and f[28:32] == IP)
        assert got, "no ARP reply"
        assert got[22:28] == PORT and got[:6] == ME
        return got

    def ping(self, seq, size=56, **kwargs):
        request, data = echo_request(seq, size)
        got = self.answer(request, lambda f: f[12:14] == b"\x08\x00" and f[23] == 1 and
                          f[34] == 0 and f[40:42] == struct.pack("!H", seq), **kwargs)
        assert got, f"no echo reply {seq}"
        assert got[42:42 + size] == data
        assert checksum(got[14:34]) == 0 and checksum(got[34:42 + size]) == 0

    def close(self):
        self.sock.close()
        for path in (self.mine, self.theirs):
            if os.path.exists(path):
                os.unlink(path)


@pytest.fixture
def wire(tmp_path_factory):
    w = Wire(tmp_path_factory.mktemp("w"))
    yield w
    w.close()


CONF = """
cell nic image=nic heap=4M stack=64K channels=32 priority=6 restart=always
device nic pci={pci}
args nic {args}
cell net image=transport heap=2M stack=64K state=1M channels=8 priority=5 restart=on-failure
args net ip=10.78.0.2/24
channel nic net protocol=net ring=512K label=eth0 server_args=mac=02:00:00:00:00:aa,ip=10.78.0.2{port}
"""


@pytest.fixture
def host(boot, archive, pair, monitor, wire):
    """host(card, nic arguments, port arguments): D0 with a nic and a transport cell."""
    def start(card, args="log=2", port="", extra_machine=(), **kwargs):
        pci = "1af4:1041" if "disable-legacy" in card else PCI[card.split(",", maxsplit=1)[0]]
        conf = pair + monitor + CONF.format(pci=pci, args=args, port=port)
        m = boot(archive(conf, ["heartbeat", "monitor", "nic", "transport"]),
                 extra=[*extra_machine, "-netdev", wire.netdev(), "-device", f"{card},netdev=n,mac=52:54:00:01:02:03"],
                 **kwargs)
        m.expect(READY, timeout=60)
        return m
    return start


@pytest.mark.parametrize("card", CARDS, ids=IDS)
def test_ping_through_every_card(host, wire, card):
    m = host(card)
    m.expect(r"^nic: eth0: \S+, 52:54:00:01:02:03, mtu 1500", timeout=30)
    wire.resolve()
    for seq, size in enumerate([0, 56, 1000, 1472]):
        wire.ping(seq, size)
    assert "panic" not in m.log


@pytest.mark.parametrize("card", ["virtio-net-pci", "e1000e"], ids=["virtio", "e1000e"])
def test_restart_of_the_nic_cell(host, wire, card):
    """Cards are reset, ports attach again; the transport cell does not notice much."""
    m = host(card, smp=2)
    wire.resolve()
    wire.ping(1)
    for start in (2, 3):
        m.command("restart nic", r"^nic: eth0: ", timeout=30)
        wire.ping(start)
    m.command("ps", r"^monitor: +\d+ nic +nic +running")


def test_restart_under_load_keeps_memory(host, wire):
    """Frames in flight at a restart leak nothing: many restarts, same memory."""
    m = host("virtio-net-pci")
    wire.resolve()
    for seq in range(6):
        for i in range(20):
            wire.send(echo_request(100 + i, 1000)[0])
        m.command("restart nic", r"^nic: eth0: ", timeout=30)
    wire.ping(7)


def test_cable_pulled_and_back(host, wire):
    m = host("e1000")
    wire.resolve()
    wire.ping(1)
    m.qmp("set_link", name="n", up=False)
    time.sleep(2)
    m.qmp("set_link", name="n", up=True)
    wire.ping(2, seconds=30)


def test_rules_change_under_traffic(host, wire):
    """An order to the nic cell: no new channel, no restart; nonsense changes nothing."""
    m = host("e1000e")
    wire.resolve()
    wire.ping(1)
    m.command("counters nic", r"port_closes")
    port = re.search(r"nic: port (\d+) for cell", m.log)[1]

    def order(words, answer):
        m.command(f"policy nic port={port} {words}", answer, timeout=30)

    order("rules=-in,icmp", r"nic: policy: port=\d+ rules=-in,icmp$")
    request, _ = echo_request(2, 56)
    assert not wire.answer(request, lambda f: f[12:14] == b"\x08\x00", seconds=3)
    order("rules=nonsense", r"nic: policy refused: ")
    assert not wire.answer(request, lambda f: f[12:14] == b"\x08\x00", seconds=3)
    order("rules= rate=100M", r"nic: policy: port=\d+ rules= rate=100M$")
    wire.ping(3)


def test_iommu_confines_and_works(host, wire):
    m = host("virtio-net-pci,iommu_platform=on,disable-legacy=on",
             extra_machine=["-device", "intel-iommu,intremap=on"])
    assert re.search("DMA confined", m.log)
    wire.resolve()
    wire.ping(1, 1400)


DHCP = """
cell nic image=nic heap=4M stack=64K channels=32 priority=6 restart=always
device nic pci={pci}
args nic log=2
cell net image=transport heap=2M stack=64K state=1M channels=8 priority=5 restart=on-failure
args net dhcp
channel nic net protocol=net ring=512K label=eth0 server_args=mac=02:00:00:00:00:aa
"""
CELLS = ["nic", "transport"]


@pytest.mark.parametrize("card", ["virtio-net-pci", "e1000", "e1000e", "vmxnet3"])
def test_user_networking_out_of_the_box(boot, archive, card):
    """QEMU's own DHCP server gives the container an address: its first is 10.0.2.15."""
    m = boot(archive(DHCP.format(pci=PCI[card]), CELLS),
             extra=["-netdev", "user,id=n", "-device", f"{card},netdev=n"])
    m.expect(r"^net: dhcp: bound to.*10\.0\.2\.15", timeout=60)


def test_e1000_in_bochs(bochs, archive, iso):
    """Bochs' card, and its built-in network with a DHCP server at 192.168.10.1."""
    # That network answers no address but the card's own.
    conf = DHCP.format(pci="8086:100e").replace("02:00:00:00:00:aa", "52:54:00:01:02:03")
    m = bochs(iso(archive(conf, CELLS)), "ryzen",
              extra="pci: enabled=1, chipset=i440fx, slot1=e1000\n"
                    "e1000: enabled=1, mac=52:54:00:01:02:03, ethmod=vnet, ethdev=\".\"\n")
    m.expect(r"^nic: eth0: e1000, 52:54:00:01:02:03", timeout=120)
    m.expect(r"^net: dhcp: bound to.*192\.168\.10\.", timeout=120)
