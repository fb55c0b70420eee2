# SPDX-License-Identifier: ISC
"""The transport stack as a Linux process against the Linux stack, over a TAP device in a
network namespace of its own. Needs root; skipped without."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(TOP, "build", "bin", "transportd")
LINUX, D0 = "10.77.0.1", "10.77.0.2"
LINUX6, D06 = "fd77::1", "fd77::2"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or not shutil.which("ip"),
    reason="needs root, /dev/net/tun and iproute2")


def pattern(n):
    """The chargen bytes of cells/transport/hosted/serve.c."""
    return bytes((i * 2654435761 & 0xffffffff) >> 24 for i in range(n))


class Net:
    """A namespace with a TAP device and a transportd on it."""

    def __init__(self, tmp_path):
        self.ns = f"d0t{os.getpid()}"
        self.tmp = tmp_path
        self.proc = None
        self.log = tmp_path / "transportd.log"
        run = self.root
        run("ip", "netns", "add", self.ns)
        self.sh("ip link set lo up")
        self.sh("ip tuntap add tap0 mode tap vnet_hdr")
        self.sh(f"ip addr add {LINUX}/24 dev tap0")
        self.sh("sysctl -qw net.ipv6.conf.tap0.accept_dad=0")
        self.sh(f"ip -6 addr add {LINUX6}/64 dev tap0 nodad")
        self.sh("ip link set tap0 up")

    @staticmethod
    def root(*argv, **kw):
        return subprocess.run(argv, check=True, timeout=60, capture_output=True, text=True, **kw)

    def sh(self, line, **kw):
        return self.root("ip", "netns", "exec", self.ns, *line.split(), **kw)

    def start(self, args=f"ip={D0}/24 gw={LINUX} ip6={D06}/64", *opts):
        out = open(self.log, "w")
        self.proc = subprocess.Popen(
            ["ip", "netns", "exec", self.ns, BIN, "tap0", args, *opts],
            stdout=out, stderr=subprocess.STDOUT)
        for _ in range(1200):
            if "ready" in self.log.read_text():
                return
            assert self.proc.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError("transportd does not get ready")

    def stop(self):
        """Ends it; its statistics as a dictionary."""
        if not self.proc:
            return {}
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(10) == 0, self.log.read_text()
        self.proc = None
        last = self.log.read_text().splitlines()[-1]
        return {k: int(v) for k, v in (w.split("=") for w in last.split())}

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait(10)
        subprocess.run(["ip", "netns", "del", self.ns], check=False)

    def inside(self, fn):
        """Runs fn in a thread that has entered the namespace; its result."""
        box = {}

        def body():
            import ctypes
            fd = os.open(f"/var/run/netns/{self.ns}", os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(fd, 0x40000000) == 0
            os.close(fd)
            try:
                box["value"] = fn()
            except BaseException as e:  # handed to the caller's thread
                box["error"] = e

        t = threading.Thread(target=body)
        t.start()
        t.join(100)
        assert not t.is_alive(), "stuck"
        if "error" in box:
            raise box["error"]
        return box["value"]


@pytest.fixture
def net(tmp_path):
    n = Net(tmp_path)
    yield n
    n.close()


def connect(host, port):
    s = socket.create_connection((host, port), timeout=30)
    s.settimeout(30)
    return s


def drain(s):
    out = bytearray()
    while True:
        b = s.recv(1 << 18)
        if not b:
            return bytes(out)
        out += b


def echo(host, data):
    s = connect(host, 7)
    t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    t.start()
    out = drain(s)
    t.join(30)
    s.close()
    return out


def test_ping(net):
    net.start()
    for host in (D0, D06):
        for size in ("0", "56", "1472", "1473", "9000", "60000"):
            r = net.sh(f"ping -c 2 -i 0.05 -W 2 -s {size} {host}")
            assert " 0% packet loss" in r.stdout


@pytest.mark.parametrize("opts", [(), ("-n",)], ids=["offload", "plain"])
def test_bulk_both_ways(net, opts):
    """Byte by byte: Linux to D0 and back, and D0 to Linux."""
    net.start(f"ip={D0}/24 gw={LINUX} ip6={D06}/64", *opts)
    data = os.urandom(12 << 20)
    assert net.inside(lambda: echo(D0, data)) == data
    assert net.inside(lambda: echo(D06, data[:3 << 20])) == data[:3 << 20]

    def chargen():
        s = connect(D0, 19)
        out = bytearray()
        while len(out) < 4 << 20:
            out += s.recv(1 << 18)
        s.close()
        return bytes(out)

    got = net.inside(chargen)
    want = pattern(1 << 16)
    assert got[:1 << 16] == want
    stats = net.stop()
    assert stats["Tcp.InErrs"] == 0 and stats["Ip.InHdrErrors"] == 0


def test_active_open(net):
    """D0 connects to a Linux listener and sends; Linux checks every byte."""
    n = 3 << 20

    def serve():
        with socket.create_server((LINUX, 5001)) as l:
            l.settimeout(20)
            net.start(f"ip={D0}/24", "-c", f"{LINUX}:5001:{n}")
            s, _ = l.accept()
            s.settimeout(20)
            return drain(s)

    got = net.inside(serve)
    assert len(got) == n
    assert got[:1 << 18] == pattern(1 << 18)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl(net):
    body = os.urandom(5_000_001)
    (net.tmp / "file.bin").write_bytes(body)
    net.start(f"ip={D0}/24 ip6={D06}/64", "-d", str(net.tmp))
    for host in (D0, f"[{D06}]"):
        net.sh(f"curl -sf -m 20 -o {net.tmp}/got http://{host}/file.bin")
        assert (net.tmp / "got").read_bytes() == body
    r = net.sh(f"curl -s -m 20 -o /dev/null -w %{{http_code}} http://{D0}/nothing")
    assert r.stdout == "404"
    # One connection, several requests.
    r = net.sh(f"curl -s -m 20 -w %{{num_connects}} http://{D0}/small http://{D0}/small")
    assert r.stdout == "hello, world1hello, world0"


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
def test_wrk(net):
    net.start()
    r = net.sh(f"wrk -t2 -c100 -d2s http://{D0}/small")
    assert "Socket errors" not in r.stdout, r.stdout
    assert net.stop()["requests"] > 1000


def test_udp(net):
    net.start()

    def exchange():
        for host, family in ((D0, socket.AF_INET), (D06, socket.AF_INET6)):
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.settimeout(5)
            for size in (0, 1, 1400, 1473, 9000, 60000):
                data = os.urandom(size)
                s.sendto(data, (host, 7))
                got, addr = s.recvfrom(65536)
                assert got == data and addr[1] == 7
            # A closed port answers with ICMP.
            s.connect((host, 4444))
            s.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                s.recv(1)
            s.close()

    net.inside(exchange)


def test_refused_and_half_closed(net):
    net.start()

    def body():
        with pytest.raises(ConnectionRefusedError):
            connect(D0, 4444)
        s = connect(D0, 7)
        s.sendall(b"first")
        s.shutdown(socket.SHUT_WR)
        assert drain(s) == b"first"
        s.close()
        # Many short connections leave nothing behind but TIME-WAIT.
        for _ in range(300):
            assert echo(D0, b"x" * 100) == b"x" * 100

    net.inside(body)


def dhcp_server(stop, offers, lease=600):
    """One lease for whoever asks, on tap0 of this namespace."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, 25, b"tap0\0")
    s.bind(("", 67))
    s.settimeout(0.2)
    while not stop.is_set():
        try:
            m, _ = s.recvfrom(2048)
        except socket.timeout:
            continue
        kind = m[m.index(b"\x35\x01", 240) + 2]
        offers.append(kind)
        a = socket.inet_aton
        opts = bytes([53, 1, 2 if kind == 1 else 5, 54, 4]) + a(LINUX) + \
            bytes([51, 4]) + struct.pack(">I", lease) + bytes([1, 4]) + a("255.255.255.0") + \
            bytes([3, 4]) + a(LINUX) + bytes([6, 4]) + a("9.9.9.9") + b"\xff"
        r = bytes([2, 1, 6, 0]) + m[4:8] + bytes(8) + a("10.77.0.99") + a(LINUX) + bytes(4) + \
            m[28:44] + bytes(192) + b"\x63\x82\x53\x63" + opts
        s.sendto(r, ("255.255.255.255", 68))
    s.close()


def test_dhcp(net):
    def body():
        stop, offers = threading.Event(), []
        t = threading.Thread(target=dhcp_server, args=(stop, offers))
        t.start()
        try:
            net.start("dhcp")
            for _ in range(50):
                if "bound to 10.77.0.99" in net.log.read_text():
                    break
                time.sleep(0.1)
            assert "bound to 10.77.0.99" in net.log.read_text()
            assert 1 in offers and 3 in offers
            return echo("10.77.0.99", b"by lease")
        finally:
            stop.set()
            t.join(5)

    assert net.inside(body) == b"by lease"


@pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark")
def test_tshark_finds_nothing_malformed(net):
    cap = str(net.tmp / "cap.pcap")
    p = subprocess.Popen(["ip", "netns", "exec", net.ns, "tshark", "-q", "-i", "tap0",
                          "-w", cap], stderr=subprocess.PIPE, text=True)
    try:
        while "Capturing" not in p.stderr.readline():
            assert p.poll() is None
        net.start(f"ip={D0}/24 ip6={D06}/64", "-n")
        time.sleep(1.5)  # duplicate address detection and its reports are captured too
        net.sh(f"ping -c 1 -s 4000 {D0}")
        net.sh(f"ping -c 1 -s 4000 {D06}")
        net.inside(lambda: (echo(D0, os.urandom(300000)), echo(D06, os.urandom(300000))))
        net.stop()
        time.sleep(0.5)
    finally:
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
    # Errors, and warnings other than the flow control that a full echo ring brings.
    checks = [w for c in ("ip", "tcp", "udp") for w in ("-o", f"{c}.check_checksum:TRUE")]
    r = Net.root("tshark", "-r", cap, *checks, "-Y",
                 "(eth.src==02:d0:00:00:00:02) && (_ws.malformed || "
                 "_ws.expert.severity>=6291456) && !(tcp.analysis.zero_window || "
                 "tcp.analysis.window_full)")
    bad = [l for l in r.stdout.splitlines() if l.strip()]
    assert not bad, "\n".join(bad[:10])
    r = Net.root("tshark", "-r", cap, "-Y", f"ip.src=={D0} && tcp")
    assert len(r.stdout.splitlines()) > 50
