# SPDX-License-Identifier: ISC
"""The transport stack against the Linux stack over a wire that loses, doubles, disorders and
damages frames, shrinks and goes dead, and with strangers on it who mean harm. The wire is a
thread between two TAP devices: Linux has one, transportd the other. Needs root."""

import fcntl
import os
import random
import select
import shutil
import socket
import struct
import threading
import time

import pytest
from packets import checksum
from test_transport_hosted import (D0, LINUX, Net, connect, dhcp_server, echo, pattern,
                                   pytestmark)  # noqa: F401

CLIENT = bytes.fromhex("02aabbccdd01")


def ip_packet(src, dst, proto, payload, ident=1, flags=0, ttl=64):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, flags, ttl, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def tcp_packet(src, dst, sport, dport, flags, seq=1, ack=0, data=b""):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 1024, 0, 0)
    pseudo = socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, 6,
                                                                         len(head) + len(data))
    sum_ = checksum(pseudo + head + data)
    return ip_packet(src, dst, 6, head[:16] + struct.pack("!H", sum_) + head[18:] + data)


class Rough:
    """The wire. Chances are per frame; `mtu` drops what is longer, saying so if `tell`."""

    def __init__(self, net, seed=1):
        self.random = random.Random(seed)
        self.loss = self.double = self.disorder = self.damage = 0.0
        self.mtu, self.tell, self.dead = 65536, True, False
        self.held, self.frames, self.hurt = [], 0, 0
        net.sh("ip link set tap0 down")
        net.sh("ip tuntap del tap0 mode tap")
        net.sh("ip tuntap add tap0 mode tap vnet_hdr")  # transportd's
        net.sh("sysctl -qw net.ipv6.conf.tap0.disable_ipv6=1")
        net.sh("ip link set tap0 up")
        self.line, self.d0 = net.inside(self._open)
        net.sh(f"ip link set linux0 address {CLIENT.hex(':')}")
        net.sh(f"ip addr add {LINUX}/24 dev linux0")
        net.sh("ip link set linux0 up")
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @staticmethod
    def _open():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", b"linux0", 0x1002))  # TAP, no header
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind(("tap0", 0))
        s.setblocking(False)
        return fd, s

    def to_d0(self, frame):
        try:
            self.d0.send(frame)
        except OSError:
            pass

    def to_linux(self, frame):
        try:
            os.write(self.line, frame)
        except OSError:
            pass

    def _too_long(self, frame, back):
        """What a router before a narrower link would say."""
        if not self.tell or frame[12:14] != b"\x08\x00":
            return
        icmp = struct.pack("!BBHHH", 3, 4, 0, 0, self.mtu - 14) + frame[14:42]
        icmp = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:]
        src, dst = socket.inet_ntoa(frame[30:34]), socket.inet_ntoa(frame[26:30])
        back(frame[6:12] + frame[0:6] + b"\x08\x00" + ip_packet(src, dst, 1, icmp))

    def _pass(self, frame, on, back):
        chance = self.random.random
        self.frames += 1
        if self.dead or chance() < self.loss:
            return
        if len(frame) > self.mtu:
            self._too_long(frame, back)
            return
        if chance() < self.damage and len(frame) > 34:
            at = self.random.randrange(34, len(frame))
            frame = frame[:at] + bytes([frame[at] ^ (1 << self.random.randrange(8))]) + \
                frame[at + 1:]
            self.hurt += 1
        if chance() < self.disorder:
            self.held.append((self.frames + self.random.randrange(1, 6), frame, on))
            return
        on(frame)
        if chance() < self.double:
            on(frame)

    def _run(self):
        while not self.stopping.is_set():
            ready = select.select([self.line, self.d0], [], [], 0.02)[0]
            if self.line in ready:
                try:
                    self._pass(os.read(self.line, 65536), self.to_d0, self.to_linux)
                except OSError:
                    pass
            if self.d0 in ready:
                frame, addr = self.d0.recvfrom(65536)
                if addr[2] != 4:  # PACKET_OUTGOING: ours
                    self._pass(frame, self.to_linux, self.to_d0)
            due = [h for h in self.held if h[0] <= self.frames or not ready]
            self.held = [h for h in self.held if h not in due]
            for _, frame, on in due:
                on(frame)

    def close(self):
        self.stopping.set()
        self.thread.join(10)
        self.d0.close()
        os.close(self.line)


@pytest.fixture
def rough(tmp_path):
    n = Net(tmp_path)
    w = None
    try:
        w = Rough(n)
        n.wire = w
        yield n
    finally:
        if w:
            w.close()
        n.close()


def start(net):
    net.start(f"ip={D0}/24 gw={LINUX} noipv6", "-n")


def chargen(n):
    s = connect(D0, 19)
    out = bytearray()
    while len(out) < n:
        b = s.recv(1 << 16)
        assert b, "closed early"
        out += b
    s.close()
    return bytes(out[:n])


@pytest.mark.parametrize("what", [dict(loss=0.03), dict(double=0.05), dict(disorder=0.1),
                                  dict(damage=0.02),
                                  dict(loss=0.01, double=0.02, disorder=0.05, damage=0.01)],
                         ids=["loss", "doubles", "disorder", "damage", "all"])
def test_content_survives(rough, what):
    start(rough)
    data = os.urandom(400000)
    assert rough.inside(lambda: echo(D0, b"warm")) == b"warm"
    for k, v in what.items():
        setattr(rough.wire, k, v)
    assert rough.inside(lambda: echo(D0, data)) == data
    assert rough.inside(lambda: chargen(300000)) == pattern(300000)
    assert rough.wire.hurt or "damage" not in what


def test_a_dead_cable_comes_back(rough):
    start(rough)
    data = os.urandom(3 << 20)
    threading.Timer(0.15, setattr, (rough.wire, "dead", True)).start()
    threading.Timer(1.5, setattr, (rough.wire, "dead", False)).start()
    assert rough.inside(lambda: echo(D0, data)) == data


@pytest.mark.parametrize("tell", [True, False], ids=["told", "black-hole"])
def test_the_path_gets_narrow(rough, tell):
    """Told by ICMP, or by silence alone."""
    start(rough)

    def body():
        s = connect(D0, 19)
        out = bytearray(s.recv(65536))
        rough.wire.tell, rough.wire.mtu = tell, 1014
        while len(out) < 300000:
            b = s.recv(1 << 16)
            assert b
            out += b
        s.close()
        return bytes(out[:300000])

    assert rough.inside(body) == pattern(300000)


def test_a_tiny_window(rough):
    start(rough)

    def body():
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least Linux gives
        s.settimeout(30)
        s.connect((D0, 19))
        out = bytearray()
        while len(out) < 60000:
            if len(out) % 5 == 0:
                time.sleep(0.001)
            out += s.recv(700)
        s.close()
        return bytes(out[:60000])

    assert rough.inside(body) == pattern(60000)


def ethernet(net):
    mac = bytes.fromhex("02d000000002")
    return mac + CLIENT + b"\x08\x00"


def test_strangers_who_mean_harm(rough):
    """A flood of SYNs, packets from oneself to oneself, overlapping fragments, headers that
    lie, while somebody works."""
    start(rough)
    head, rnd, w = ethernet(rough), random.Random(7), rough.wire
    rough.inside(lambda: echo(D0, b"warm"))
    done = threading.Event()

    def harm():
        n = 0
        while not done.is_set():
            src = f"10.77.0.{rnd.randrange(3, 250)}"
            kind = n % 8
            if kind < 3:
                p = tcp_packet(src, D0, rnd.randrange(1024, 65535), 80, 2, rnd.getrandbits(32))
            elif kind == 3:  # land
                p = tcp_packet(D0, D0, 80, 80, 2)
            elif kind == 4:  # teardrop: the second fragment lies inside the first
                w.to_d0(head + ip_packet(src, D0, 17, bytes(36), n & 0xffff, 0x2000))
                p = ip_packet(src, D0, 17, bytes(4), n & 0xffff, 3)
            elif kind == 5:  # the last byte of a datagram that would be too long
                p = ip_packet(src, D0, 1, bytes(1000), n & 0xffff, 0x1fff)
            elif kind == 6:  # every flag, or none
                p = tcp_packet(src, D0, 1, 80, 0x3f if n & 8 else 0, data=b"x")
            else:
                p = bytearray(tcp_packet(src, D0, 9, 7, 0x12))
                p[rnd.randrange(len(p))] ^= 1 << rnd.randrange(8)
                p = bytes(p[:rnd.randrange(14, len(p))])
            w.to_d0(head + p)
            n += 1
            sent[0] = n
            if n % 50 == 0:
                time.sleep(0.002)

    sent = [0]
    t = threading.Thread(target=harm)
    t.start()
    try:
        while sent[0] < 3000:
            data = os.urandom(100000)
            assert rough.inside(lambda: echo(D0, data)) == data
    finally:
        done.set()
        t.join(10)
    time.sleep(0.3)
    assert rough.inside(lambda: echo(D0, b"after")) == b"after"
    stats = rough.stop()
    # Half-open ones are a quarter of transportd's table at most; beyond, SYNs get cookies.
    assert stats["sockets"] <= 4096 // 4 + 10, stats


@pytest.mark.skipif(not shutil.which("nmap"), reason="no nmap")
def test_a_port_scan(rough):
    start(rough)
    r = rough.sh(f"nmap -n -Pn -sS -T4 --max-retries 3 -p 1-100 {D0}")
    found = [line.split("/")[0] for line in r.stdout.splitlines() if "/tcp" in line and "open" in line]
    assert found == ["7", "9", "19", "80"], r.stdout
    for kind in ("-sN", "-sX", "-sA"):
        rough.sh(f"nmap -n -Pn {kind} -T4 --max-retries 1 -p 1-40 {D0}")
    assert rough.inside(lambda: echo(D0, b"after")) == b"after"


def arp(op, mac, ip, target):
    a = socket.inet_aton
    return b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x800, 6, 4, op) + mac + a(ip) + \
        bytes(6) + a(target)


def test_another_claims_our_address(rough):
    """It is said, and defended once."""
    start(rough)
    rough.inside(lambda: echo(D0, b"warm"))
    rough.wire.to_d0(arp(1, bytes.fromhex("02aabbccdd99"), D0, D0))
    end = time.time() + 5
    while "address conflict" not in rough.log.read_text():
        assert time.time() < end, rough.log.read_text()
        time.sleep(0.05)
    assert rough.inside(lambda: echo(D0, b"mine")) == b"mine"


@pytest.mark.long
def test_the_dhcp_server_goes_and_comes_back(tmp_path):
    """A lease of eight seconds: it runs out, which is said, and another server gives a new one."""
    n = Net(tmp_path)

    def serve(until, seconds):
        stop, offers = threading.Event(), []
        t = threading.Thread(target=dhcp_server, args=(stop, offers, 8))
        t.start()
        end = time.time() + seconds
        try:
            while not until(n.log.read_text() if n.log.exists() else ""):
                assert time.time() < end, n.log.read_text()
                time.sleep(0.1)
        finally:
            stop.set()
            t.join(5)

    def wait(text, seconds):
        end = time.time() + seconds
        while text not in n.log.read_text():
            assert time.time() < end, n.log.read_text()
            time.sleep(0.1)

    def body():
        starter = threading.Timer(0.3, n.start, ("dhcp",))
        starter.start()
        serve(lambda log: "bound to" in log, 20)
        wait("the server is gone", 20)
        with pytest.raises(OSError):
            socket.create_connection(("10.77.0.99", 7), 2)
        serve(lambda log: log.count("bound to") >= 2, 60)
        assert echo("10.77.0.99", b"again") == b"again"

    try:
        n.inside(body)
    finally:
        n.close()
