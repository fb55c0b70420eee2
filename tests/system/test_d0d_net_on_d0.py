# SPDX-License-Identifier: ISC
"""Container networking on D0: a transport cell for each container, docker networks as segments
of the nic cell's switch, published ports and names. The stock docker command and clients on
this host drive it."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tools"))
import forward  # noqa: E402
from conftest import make_archive
from d0d_lib import busybox_layer, debian_layer, docker_archive
from machine import BUILD, PATIENCE, TOP, Qemu
from test_d0d_on_d0 import DOCKER, Host
from test_demo import free_port

pytestmark = pytest.mark.skipif(not DOCKER, reason="no docker command")

SERVE = "mkdir /www; echo I am {0} > /www/index.html; exec httpd -f -p 80 -h /www"
PORTS = (8081, 8082)
WIRE = f"d0wire{os.getpid() % 100000}"  # a device and the namespace it is in
PREFIXES = ("2001:db8:1:", "2001:db8:2:")  # of /64, that the wire has one after the other
FAR = "2001:db8:7::7"  # behind its router


def ns(*argv, **kw):
    return subprocess.run(["ip", "netns", "exec", WIRE, *argv], capture_output=True, text=True, check=False,
                          timeout=60 * PATIENCE, **kw)


class Wire:
    """A second machine on the card's wire, its router for IPv6: a TAP device at the same hub as QEMU's user
    network, which moves into a namespace of its own once QEMU has it open. Only root can make one."""

    def __init__(self):
        self.can = os.geteuid() == 0 and shutil.which("ip") and not self._ip("tuntap", "add", WIRE, "mode", "tap")
        hub = (f"tap,id=tap0,ifname={WIRE},script=no,downscript=no", "hubport,id=h1,hubid=0,netdev=tap0")
        self.qemu = [a for n in (hub if self.can else ()) for a in ("-netdev", n)]

    @staticmethod
    def _ip(*argv):
        return subprocess.run(["ip", *argv], check=False, capture_output=True).returncode

    def lay(self):
        inside = [["link", "set", "lo", "up"], ["link", "set", WIRE, "addrgenmode", "none"], ["link", "set", WIRE, "up"], ["addr", "add", f"{FAR}/128", "dev", "lo"]]
        inside += [["addr", "add", f"{p}:99/64", "dev", WIRE, "nodad"] for p in ("fe80:", *PREFIXES)]
        for argv in [["netns", "add", WIRE], ["link", "set", WIRE, "netns", WIRE]] + [["-n", WIRE, *i] for i in inside]:
            assert not self.can or self._ip(*argv) == 0, argv

    @staticmethod
    def advertise(*prefixes):
        """Says to be a router, and the prefixes: each with the seconds for which it is preferred."""
        ra = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        for prefix, preferred in prefixes:
            ra += struct.pack(">BBBBIII16s", 3, 4, 64, 0xc0, 7200, preferred, 0, socket.inet_pton(socket.AF_INET6, prefix + ":"))
        done = ns(sys.executable, "-c", f"""if True:
            import socket
            s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            i = socket.if_nametoindex({WIRE!r})
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            s.bind(("fe80::99", 0, 0, i))
            s.sendto(bytes.fromhex({ra.hex()!r}), ("ff02::1", 0, 0, i))""")
        assert done.returncode == 0, done.stderr

    def close(self):
        if self.can:
            self._ip("netns", "del", WIRE)
            self._ip("link", "del", WIRE)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """One machine for all tests here; each leaves no container behind. The monitor, too, may
    restart cells."""
    folder = tmp_path_factory.mktemp("d0")
    with open(os.path.join(TOP, "conf", "docker.conf"), encoding="utf-8") as f:
        conf = f.read().replace("caps=inspect,power,console", "caps=inspect,power,console,heal")
    archive = make_archive(folder, conf, ["heartbeat", "monitor", "nic", "store", "transport"],
                           ["linux"],
                           {"demo-root": f"{BUILD}/demo-root.tar", "d0d-root": f"{BUILD}/d0d-root.tar"})
    docker_port, dash_port, ports = free_port(), free_port(), [free_port() for _ in PORTS]
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{mine}-10.0.2.16:{theirs}"
                       for mine, theirs in zip(ports, PORTS))
    disk = folder / "disk"
    with open(disk, "wb") as f:
        f.truncate(256 << 20)
    wire = Wire()
    m = Qemu(str(folder), archive, smp=2, mem="768M", extra=[
        "-drive", f"if=none,id=disk0,format=raw,file={disk}",
        "-device", "virtio-blk-pci,drive=disk0",
        "-netdev", f"user,id=net0,ipv6=off,hostfwd=tcp:127.0.0.1:{docker_port}-10.0.2.16:2375,"
        f"hostfwd=tcp:127.0.0.1:{dash_port}-10.0.2.16:8080{forwards}",
        "-netdev", "hubport,id=h0,hubid=0,netdev=net0", *wire.qemu,
        "-netdev", "hubport,id=h2,hubid=0", "-device", "virtio-net-pci,netdev=h2"])
    try:
        m.expect(r"^d0d: .* ready$", timeout=60)
        wire.lay()
        h = Host(m, docker_port, dash_port)
        h.port, h.qmp = dict(zip(PORTS, ports)), str(folder / "qmp")
        image = folder / "image.tar"
        image.write_bytes(docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
        h.ok("load", "-i", str(image))
        h.wire = wire
        yield h
    finally:
        m.stop()
        wire.close()


@pytest.fixture(autouse=True)
def nothing_stays(host):
    yield
    left = host.ok("ps", "-aq").split()
    if left:
        host.ok("rm", "-f", *left, timeout=60 + 5 * len(left))
    host.ok("network", "prune", "-f")
    assert not [c for c in cells(host) if c.startswith(("ct-", "nt-"))]


def cells(host):
    return {c["name"]: c for c in json.loads(host.get("/status.json"))["cells"]}


def fetch(host, port, timeout=5):
    return subprocess.run(["curl", "-sS", "--max-time", str(timeout * PATIENCE),
                           f"http://127.0.0.1:{host.port[port]}/"],
                          capture_output=True, text=True, check=False)


def page(host, port, text, limit=20):
    end = time.monotonic() + limit * PATIENCE
    while text not in (got := fetch(host, port)).stdout:
        assert time.monotonic() < end, f"{got}\n{host.machine.tail()}"
        time.sleep(0.3)


def serve(host, name, *args):
    host.ok("run", "-d", "--name", name, *args, "busybox", "sh", "-c", SERVE.format(name))


def run(host, *args, network="bridge"):
    return host.docker("run", "--rm", "--network", network, "busybox", *args)


def ask(host, name, network):
    """What a client in that network gets from that name; "" if nothing."""
    for _ in range(3):  # the server may not have begun to listen yet
        got = run(host, "sh", "-c", f"busybox timeout 5 wget -q -O - http://{name}/; true",
                  network=network).stdout
        if got:
            break
    return got


def test_a_published_port_answers_until_the_container_ends(host):
    serve(host, "web", "-p", "8081:80")
    page(host, 8081, "I am web")
    assert host.ok("port", "web") == "80/tcp -> 0.0.0.0:8081\n80/tcp -> [::]:8081\n"
    net = json.loads(host.ok("inspect", "-f", "{{json .NetworkSettings}}", "web"))
    inside = host.ok("exec", "web", "ip", "-4", "addr", "show", "eth0")
    assert f"inet {net['IPAddress']}/16" in inside
    assert net["MacAddress"] in host.ok("exec", "web", "ip", "link", "show", "eth0")
    assert [c for c in cells(host) if re.fullmatch(r"nt-[0-9a-f]{12}\.\d+", c)]
    got = host.docker("run", "-d", "-p", "8081:80", "busybox", "true")
    assert got.returncode == 125 and "8081 failed: port is already allocated" in got.stderr
    got = host.docker("run", "-d", "-p", "2375:80", "busybox", "true")
    assert got.returncode == 125 and "port is already allocated" in got.stderr  # d0d's own
    got = host.docker("run", "-d", "-p", "10.9.9.9:8082:80", "busybox", "true")
    assert got.returncode == 125 and "8082 failed: cannot assign requested address" in got.stderr
    host.ok("restart", "-t", "1", "web")
    page(host, 8081, "I am web")
    host.ok("stop", "-t", "1", "web")
    assert fetch(host, 8081).returncode != 0
    host.ok("start", "web")
    page(host, 8081, "I am web")
    assert "rx_bytes" in host.ok("exec", "web", "sh", "-c", "echo rx_bytes")
    assert re.search(r"[1-9].*B / [1-9].*B",
                     host.ok("stats", "--no-stream", "--format", "{{.NetIO}}", "web"))


def from_elsewhere(host, port):
    """A forward whose traffic does not come from QEMU's own address: what another machine on the
    wire would see. QEMU keeps the sender's address where it is not a loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("192.0.2.1", 9))  # sends nothing
        mine = s.getsockname()[0]
    at = free_port()
    forward.Qmp(host.qmp).command(f"hostfwd_add net0 tcp:{mine}:{at}-10.0.2.16:{port}")
    return subprocess.run(["curl", "-sS", "--max-time", "10", f"http://{mine}:{at}/"],
                          capture_output=True, text=True, check=False)


def test_a_port_of_the_loopback_is_this_machine_s(host):
    serve(host, "web", "-p", "127.0.0.1:8081:80", "-p", "10.0.2.16:8082:80", "-p", "8082:80")
    page(host, 8081, "I am web")  # by way of QEMU's forward from 127.0.0.1, `near` d0d
    page(host, 8082, "I am web")
    assert sorted(host.ok("port", "web").split("\n")) == [
        "", "80/tcp -> 0.0.0.0:8082", "80/tcp -> 10.0.2.16:8082", "80/tcp -> 127.0.0.1:8081",
        "80/tcp -> [::]:8082"]
    assert "127.0.0.1:8081->80/tcp" in host.ok("ps", "--format", "{{.Ports}}")
    assert run(host, "wget", "-q", "-O", "-", "http://10.0.2.16:8081/").stdout == "I am web\n"
    assert from_elsewhere(host, 8082).stdout == "I am web\n"
    assert from_elsewhere(host, 8081).returncode != 0
    got = host.docker("run", "-d", "-p", "8081:80", "busybox", "true")
    assert got.returncode == 125 and "8081 failed: port is already allocated" in got.stderr
    # An earlier d0d's are the same.
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    host.machine.expect(r"^d0d: .* ready$", timeout=60)
    got = host.docker("run", "-d", "-p", "127.0.0.1:8081:80", "busybox", "true")
    assert got.returncode == 125 and "8081 failed: port is already allocated" in got.stderr


def test_the_way_out(host):
    got = run(host, "sh", "-c", "ping -c 1 -W 3 10.0.2.2 && wget -q -O - http://10.0.2.15/ && "
              "ip route && cat /etc/resolv.conf")
    assert got.returncode == 0, got
    assert "1 packets received" in got.stdout and "Hello from a container on D0" in got.stdout
    assert "default via 172.17.0.1 dev eth0" in got.stdout and "nameserver 10.0.2.3" in got.stdout
    serve(host, "web", "-p", "8081:80")  # what is published is reached from inside as well
    page(host, 8081, "I am web")
    assert run(host, "wget", "-q", "-O", "-", "http://10.0.2.16:8081/").stdout == "I am web\n"
    got = run(host, "sh", "-c", "busybox timeout 2 nc 10.0.2.16 2375; echo $?")
    assert int(got.stdout) > 0, got  # d0d is not


def test_containers_of_a_network_know_each_other_by_name(host):
    for n in ("one", "two"):
        host.ok("network", "create", n)
    serve(host, "alpha", "--network", "one", "--network-alias", "other")
    serve(host, "beta", "--network", "two")
    assert ask(host, "alpha", "one") == "I am alpha\n"
    assert ask(host, "other", "one") == "I am alpha\n"
    address = host.ok("inspect", "-f", "{{.NetworkSettings.Networks.one.IPAddress}}",
                      "alpha").strip()
    assert ask(host, address, "one") == "I am alpha\n"
    assert run(host, "nslookup", "beta", network="one").returncode != 0
    assert ask(host, address, "two") == "" and ask(host, "alpha", "bridge") == ""
    # A second network while it runs, and back.
    host.ok("network", "connect", "two", "alpha")
    assert "eth1" in host.ok("exec", "alpha", "ip", "-4", "addr")
    assert ask(host, "alpha", "two") == "I am alpha\n"
    host.ok("network", "disconnect", "two", "alpha")
    assert "eth1" not in host.ok("exec", "alpha", "ip", "-4", "addr")
    assert ask(host, "alpha", "one") == "I am alpha\n"
    got = host.docker("network", "rm", "one")
    assert got.returncode == 1 and "active endpoints" in got.stderr


@pytest.mark.skipif(not shutil.which("redis-server") or not shutil.which("redis-cli"), reason="no redis")
def test_redis_of_debian_and_its_client_here(host, tmp_path):
    archive = tmp_path / "redis.tar"
    archive.write_bytes(docker_archive("redis:deb", [debian_layer("/usr/bin/redis-server")], {
        "Cmd": ["/usr/bin/redis-server", "--port", "6379", "--protected-mode", "no", "--dir", "/tmp"]}))
    host.ok("load", "-i", str(archive))
    host.ok("run", "-d", "--name", "redis", "-p", "8081:6379", "redis:deb")

    def redis(*args):
        return subprocess.run(["redis-cli", "-p", str(host.port[8081]), *args], capture_output=True, text=True,
                              check=False, timeout=60 * PATIENCE).stdout.strip()
    end = time.monotonic() + 60 * PATIENCE
    while redis("ping") != "PONG":
        assert time.monotonic() < end, host.ok("logs", "redis")
        time.sleep(0.3)
    assert redis("set", "key", "x" * 10000) == "OK" and redis("get", "key") == "x" * 10000
    assert redis("eval", "return redis.call('strlen', KEYS[1]) + 1", "1", "key") == "10001"
    assert "Background saving started" in redis("bgsave")
    host.ok("exec", "redis", "/usr/bin/redis-server", "--version")
    host.ok("stop", "-t", "20", "redis")
    assert host.ok("inspect", "-f", "{{.State.ExitCode}}", "redis") == "0\n"
    host.ok("rm", "redis")
    host.ok("rmi", "redis:deb")


PYTHON = "/usr/lib/python3.11"


@pytest.mark.skipif(not os.path.isdir(PYTHON), reason="no python3.11")
def test_python_of_debian(host, tmp_path):
    parts = [os.path.join(PYTHON, x) for x in ("encodings", "collections", "json", "re", "importlib", "http", "html", "email", "urllib",
                                               "logging", "lib-dynload")]
    parts += [os.path.join(PYTHON, x) for x in os.listdir(PYTHON) if x.endswith(".py")]
    archive = tmp_path / "python.tar"
    archive.write_bytes(docker_archive("python:deb", [debian_layer("/usr/bin/python3.11", more=parts)], {
        "Entrypoint": ["/usr/bin/python3.11"], "Env": ["PYTHONDONTWRITEBYTECODE=1"]}))
    host.ok("load", "-i", str(archive))
    script = "import hashlib, json, os, sys; print(json.dumps([sys.version_info[:2], hashlib.sha256(b'x').hexdigest()[:8], os.getpid()]))"
    assert json.loads(host.ok("run", "--rm", "python:deb", "-c", script)) == [[3, 11], "2d711642", 1]
    host.ok("run", "-d", "--name", "py", "-p", "8081:8000", "python:deb", "-m", "http.server", "-d", "/usr/lib")
    page(host, 8081, "python3.11/", limit=60)
    host.ok("rm", "-f", "py")
    host.ok("rmi", "python:deb")


def test_networks_without_a_way_out(host):
    got = run(host, "ip", "-o", "link", network="none")
    assert got.stdout.count("\n") == 1 and "lo:" in got.stdout
    host.ok("network", "create", "--internal", "inner")
    serve(host, "alpha", "--network", "inner", "-p", "8081:80")
    assert ask(host, "alpha", "inner") == "I am alpha\n"
    assert fetch(host, 8081).returncode != 0
    assert run(host, "ping", "-c", "1", "-W", "1", "10.0.2.2", network="inner").returncode == 1
    host.ok("network", "connect", "bridge", "alpha")
    host.ok("exec", "alpha", "ping", "-c", "1", "-W", "3", "10.0.2.2")
    page(host, 8081, "I am alpha")  # what it asked to publish, now that it has a way out
    host.ok("network", "disconnect", "bridge", "alpha")
    assert host.docker("exec", "alpha", "ping", "-c", "1", "-W", "1", "10.0.2.2").returncode == 1
    serve(host, "beta", "-p", "8081:80")
    page(host, 8081, "I am beta")
    got = host.docker("network", "connect", "bridge", "alpha")
    assert got.returncode == 1 and "8081 failed: port is already allocated" in got.stderr
    assert "eth1" not in host.ok("exec", "alpha", "ip", "addr")
    host.ok("rm", "-f", "beta")
    host.ok("network", "connect", "bridge", "alpha")
    page(host, 8081, "I am alpha")


def test_ipv6_and_names_by_tcp(host):
    host.ok("network", "create", "--ipv6", "--subnet", "fd00:d0::/64", "six")
    serve(host, "alpha", "--network", "six", "--ip6", "fd00:d0::77")
    net = json.loads(host.ok("inspect", "-f", "{{json .NetworkSettings.Networks.six}}", "alpha"))
    assert (net["GlobalIPv6Address"], net["GlobalIPv6PrefixLen"], net["IPv6Gateway"]) == (
        "fd00:d0::77", 64, "fd00:d0::1")
    assert "fd00:d0::77/64" in host.ok("exec", "alpha", "ip", "-6", "addr", "show", "eth0")
    assert "fd00:d0::77\t" in host.ok("exec", "alpha", "cat", "/etc/hosts")
    assert ask(host, "[fd00:d0::77]", "six") == "I am alpha\n"
    host.ok("run", "-d", "--name", "beta", "--network", "six", "busybox", "sleep", "1000")
    got = host.ok("exec", "beta", "ping", "-6", "-c", "1", "-W", "5", "alpha")
    assert "(fd00:d0::77)" in got and "1 packets received" in got
    seen = json.loads(host.ok("network", "inspect", "six"))[0]
    assert seen["EnableIPv6"] and {c["IPv6Address"] for c in seen["Containers"].values()} == {
        "fd00:d0::77/64", "fd00:d0::2/64"}
    assert {p["Subnet"] for p in seen["IPAM"]["Config"]} >= {"fd00:d0::/64"}
    # A question for alpha's AAAA with its length in front, as TCP has it.
    query = "".join(f"\\x{b:02x}" for b in bytes.fromhex("001712340100000100000000000005") +
                    b"alpha" + bytes.fromhex("00001c0001"))
    got = host.ok("exec", "beta", "sh", "-c",
                  f"(printf '{query}'; sleep 2) | nc -w 5 169.254.0.1 53 | od -An -v -tx1")
    got = "".join(got.split())
    assert got.startswith("0033") and got.endswith("0010fd0000d0000000000000000000000077"), got
    assert "default via fd00:d0::1 dev eth0" in host.ok("exec", "beta", "ip", "-6", "route")
    # Without IPv6 nobody leaves by it, and hears so at once; an address of another network is refused.
    assert "unreachable" in run(host, "ping", "-6", "-c", "1", "2001:db8::1").stderr
    got = host.docker("run", "--rm", "--network", "six", "--ip6", "fd01::5", "busybox", "true")
    assert got.returncode == 125 and "no configured subnet contains" in got.stderr
    got = host.docker("network", "create", "--subnet", "fd02::/64", "bad")
    assert got.returncode == 1 and "needs --ipv6" in got.stderr
    # Another d0d knows them still.
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    host.machine.expect(r"^d0d: .* ready$", timeout=60)
    assert "fd00:d0::77" in host.ok("inspect", "alpha")
    got = host.docker("run", "--rm", "--network", "six", "--ip6", "fd00:d0::77", "busybox", "true")
    assert got.returncode == 125 and "Address already in use" in got.stderr


def host6(host, *prefixes):
    """The IPv6 address that the host makes of the last prefix, when it hears of them: d0d says it."""
    prefix = prefixes[-1][0]
    host.wire.advertise(*prefixes)
    end = time.monotonic() + 60 * PATIENCE
    while not (found := re.findall(rf"the host's address: 10\.0\.2\.16, ({prefix}\S+)\n", host.machine.log)):
        assert time.monotonic() < end, host.machine.tail()
        time.sleep(0.3)
    return found[-1]


def page6(at, port, text, limit=20):
    """From the wire."""
    end = time.monotonic() + limit * PATIENCE
    while text not in (got := ns("curl", "-sS", "-g", "--max-time", "10", f"http://[{at}]:{port}/")).stdout:
        assert time.monotonic() < end, got
        time.sleep(0.3)


# What there is on the wire for containers, and who asks there: pages, and names that nobody has.
PEER = f"""
import socket, threading
def listen(kind, port):
    s = socket.socket(socket.AF_INET6, kind)
    s.bind(("{FAR}", port))
    return s
names, pages = listen(socket.SOCK_DGRAM, 53), listen(socket.SOCK_STREAM, 80)
pages.listen()
def answer():
    while True:
        data, who = names.recvfrom(1000)
        print("udp", who[0], who[1], flush=True)
        names.sendto(data[:2] + bytes([0x81, 0x83]) + data[4:], who)
threading.Thread(target=answer, daemon=True).start()
print("ready", flush=True)
while True:
    c, who = pages.accept()
    c.recv(1000)
    print("tcp", who[0], who[1], flush=True)
    c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nI am far")
    c.close()
"""


def test_ipv6_of_the_host_is_everybody_s(host):
    """Published ports at the host's IPv6 address, and the way out by it, from and to another machine."""
    if not host.wire.can:
        pytest.skip("needs root and ip")
    host.ok("network", "create", "--ipv6", "--subnet", "fd00:d1::/64", "six")
    host.ok("run", "-d", "--name", "early", "--network", "six", "busybox", "sleep", "1000")
    at = host6(host, (PREFIXES[0], 1800))
    serve(host, "alpha", "--network", "six", "-p", "8081:80", "-p", "[::1]:8083:80", "-p", f"[{at}]:8084:80")
    # One that listens by IPv4 only, in a network without IPv6, at a port of IPv6 only.
    host.ok("run", "-d", "--name", "beta", "-p", "[::]:8082:80", "busybox", "sh", "-c",
            SERVE.format("beta").replace("-p 80", "-p 0.0.0.0:80"))
    assert sorted(host.ok("port", "alpha").split("\n")) == sorted([
        "", "80/tcp -> 0.0.0.0:8081", "80/tcp -> [::1]:8083", "80/tcp -> [::]:8081", f"80/tcp -> [{at}]:8084"])
    page(host, 8081, "I am alpha")
    for port in (8081, 8084):
        page6(at, port, "I am alpha")
    page6(at, 8082, "I am beta")
    assert fetch(host, 8082).returncode != 0
    for port in (8083, 2375, 8085):
        got = ns("curl", "-sS", "-g", "--max-time", "10", f"http://[{at}]:{port}/")
        assert got.returncode and not got.stdout, got
    assert "1 received" in ns("ping", "-c", "1", "-W", "10", at).stdout
    # What is taken, by family.
    for args, why in ((("[::]:8081:80",), ":::8081 failed: port is already allocated"),
                      (("8082:80",), "8082 failed: port is already allocated"),
                      (("[2001:db8::1]:8085:80",), "8085 failed: cannot assign requested address")):
        got = host.docker("run", "-d", "-p", *args, "busybox", "true")
        assert got.returncode == 125 and why in got.stderr, got
    host.ok("run", "--rm", "-p", "0.0.0.0:8082:80", "busybox", "true")
    # Out: from the host's address and the container's block; its own application sees its own.
    peer = subprocess.Popen(["ip", "netns", "exec", WIRE, sys.executable, "-c", PEER], stdout=subprocess.PIPE, text=True)
    try:
        assert peer.stdout.readline() == "ready\n"
        ask = f"wget -q -O - http://[{FAR}]/; nslookup nobody {FAR}; ping -6 -c 1 -W 10 {FAR}"
        got = run(host, "sh", "-c", ask, network="six")
        assert "I am far" in got.stdout and "1 packets received" in got.stdout, got
        for kind in ("tcp", "udp"):
            seen = peer.stdout.readline().split()
            assert seen[:2] == [kind, at] and 36864 <= int(seen[2]) < 61440, (seen, got)
        assert "1 packets received" in host.ok("exec", "early", "ping", "-6", "-c", "1", "-W", "10", FAR)
        got = run(host, "ping", "-6", "-c", "1", FAR)  # in a network without IPv6 there is none
        assert "unreachable" in got.stderr, got
    finally:
        peer.kill()
        peer.wait()
    inside = f"wget -q -O - http://[{at}]:{{}}/"
    for port in (8081, 8083):  # the host's own, from within
        assert run(host, "sh", "-c", inside.format(port), network="six").stdout == "I am alpha\n"
    # Another prefix: whoever is published moves to the new address.
    at = host6(host, (PREFIXES[0], 0), (PREFIXES[1], 1800))
    page6(at, 8081, "I am alpha")
    page6(at, 8082, "I am beta")
    assert "1 packets received" in host.ok("exec", "early", "ping", "-6", "-c", "1", "-W", "10", FAR)
    # The nic learns the host's address anew; another d0d knows what is published.
    host.machine.command("restart nic", r"monitor: nic: restarted")
    page6(at, 8081, "I am alpha")
    page6(at, 8082, "I am beta")
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    host.machine.expect(r"^d0d: .* ready$", timeout=60)
    got = host.docker("run", "-d", "-p", "[::]:8082:80", "busybox", "true")
    assert got.returncode == 125 and ":::8082 failed: port is already allocated" in got.stderr
    assert "80/tcp -> [::]:8082\n" == host.ok("port", "beta")
    page6(at, 8082, "I am beta")


def test_a_pod(host):
    """Containers that share one network: one address, one loopback, one set of ports."""
    serve(host, "alpha", "-p", "8081:80")
    host.ok("run", "-d", "--name", "side", "--network", "container:alpha", "busybox", "sh", "-c",
            SERVE.format("side").replace("-p 80 ", "-p 81 "))
    inside = "busybox timeout 5 wget -q -O - http://127.0.0.1{}/"
    page(host, 8081, "I am alpha")
    assert host.ok("exec", "side", "sh", "-c", inside.format("")) == "I am alpha\n"
    assert host.ok("exec", "alpha", "sh", "-c", inside.format(":81")) == "I am side\n"
    assert (host.ok("exec", "alpha", "ip", "-4", "-o", "addr", "show", "eth0")
            == host.ok("exec", "side", "ip", "-4", "-o", "addr", "show", "eth0"))
    assert host.ok("exec", "alpha", "hostname") == host.ok("exec", "side", "hostname")
    assert host.ok("exec", "side", "cat", "/etc/hosts").count(host.ok(
        "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "alpha").strip()) == 1
    assert len([c for c in cells(host) if c.startswith("nt-")]) == 1
    for peer in ("alpha", "side"):
        got = run(host, "httpd", "-f", "-p", "80", network=f"container:{peer}")
        assert got.returncode == 1 and "Address already in use" in got.stderr
    host.ok("create", "--name", "idle", "busybox", "true")
    got = host.docker("run", "--rm", "--network", "container:idle", "busybox", "true")
    assert got.returncode == 125 and "cannot join network" in got.stderr, got
    got = host.docker("run", "--network", "container:alpha", "-p", "8082:80", "busybox", "true")
    assert got.returncode == 125 and "conflicting options" in got.stderr
    # Each ends without the others; d0d finds them as they are.
    host.ok("run", "-d", "--name", "third", "--network", "container:alpha", "busybox", "sleep",
            "1000")
    host.ok("rm", "-f", "third")
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    host.machine.expect(r"^d0d: .* ready$", timeout=60)
    page(host, 8081, "I am alpha")
    assert host.ok("exec", "alpha", "sh", "-c", inside.format(":81")) == "I am side\n"
    host.ok("stop", "-t", "1", "alpha")
    assert fetch(host, 8081).returncode != 0
    assert host.ok("exec", "side", "sh", "-c", inside.format(":81")) == "I am side\n"
    host.ok("start", "alpha")
    page(host, 8081, "I am alpha")
    host.ok("restart", "-t", "1", "side")  # joins the network that alpha has now
    assert host.ok("exec", "side", "sh", "-c", inside.format("")) == "I am alpha\n"


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_networks_on_the_wire(host, driver):
    host.ok("network", "create", "-d", driver, "-o", "parent=eth0", "--subnet", "10.0.2.0/24",
            "--gateway", "10.0.2.2", "--ip-range", "10.0.2.64/26", "lan")
    host.ok("run", "--rm", "--network", "lan", "--ip", "10.0.2.77", "busybox",
            "ping", "-c", "1", "-W", "3", "10.0.2.2")
    serve(host, "alpha", "--network", "lan", "--ip", "10.0.2.77")
    assert ask(host, "alpha", "lan") == "I am alpha\n"
    got = host.docker("network", "create", "-d", driver, "-o", "parent=wlan0", "bad")
    assert got.returncode == 1 and "eth0 to eth7" in got.stderr


def test_one_transport_fails_alone(host):
    serve(host, "alpha", "-p", "8081:80")
    serve(host, "beta", "-p", "8082:80")
    page(host, 8081, "I am alpha")
    page(host, 8082, "I am beta")
    ident = host.ok("inspect", "-f", "{{.Id}}", "alpha")[:12]
    name = [c for c in cells(host) if c.startswith(f"nt-{ident}")][0]
    other = [c for c in cells(host) if c.startswith("nt-") and c != name][0]
    # A transfer through the other one, so slow that it spans the restart.
    host.ok("exec", "beta", "sh", "-c", "dd if=/dev/zero of=/www/big bs=1M count=4")
    slow = subprocess.Popen(["curl", "-sS", "--fail", "--limit-rate", "1M", "-o", os.devnull,
                             f"http://127.0.0.1:{host.port[8082]}/big"])
    host.machine.command(f"restart {name}", rf"monitor: {re.escape(name)}: restarted")
    page(host, 8081, "I am alpha")
    assert slow.wait(60 * PATIENCE) == 0
    now = cells(host)
    assert now[name]["restarts"] == 1 and now[other]["restarts"] == 0
    host.machine.command("restart nic", r"monitor: nic: restarted")
    page(host, 8081, "I am alpha")
    page(host, 8082, "I am beta")


def test_d0d_finds_the_networks_of_what_runs(host):
    host.ok("network", "create", "one")
    serve(host, "alpha", "--network", "one", "-p", "8081:80")
    page(host, 8081, "I am alpha")
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    page(host, 8081, "I am alpha")  # nobody had to wait for d0d
    host.machine.expect(r"^d0d: .* ready$", timeout=60)
    assert ask(host, "alpha", "one") == "I am alpha\n"
    got = host.docker("run", "-d", "-p", "8081:80", "busybox", "true")
    assert got.returncode == 125 and "port is already allocated" in got.stderr
    host.ok("network", "create", "two")
    host.ok("network", "connect", "two", "alpha")
    assert ask(host, "alpha", "two") == "I am alpha\n"
    host.ok("network", "disconnect", "one", "alpha")
    page(host, 8081, "I am alpha")


def figures(host):
    """Free memory in KiB, and ports of the switch."""
    free = host.machine.command("status", r"free (\d+)")
    ports = host.machine.command("counters nic", r"^monitor: +ports +(\d+)")
    return int(free.group(1)), int(ports.group(1))


def test_nothing_leaks(host):
    for _ in range(3):
        run(host, "true")
    time.sleep(1.5)  # the switch counts once a second
    before = figures(host)
    for _ in range(12):
        assert run(host, "true").returncode == 0
    end = time.monotonic() + 30 * PATIENCE
    while True:
        time.sleep(1)
        after = figures(host)
        if after[1] == before[1] and before[0] - after[0] < 512:
            break
        assert time.monotonic() < end, (before, after)
    # What one that idles costs in all: both its cells, their tables and rings.
    host.ok("run", "-d", "--name", "idle", "busybox", "sleep", "1000")
    time.sleep(1.5)
    assert after[0] - figures(host)[0] < 4096


def seconds(host):
    return {c["name"]: c["cpu"] for c in json.loads(host.get("/status.json"))["containers"]}


def wins(host, more, less):
    """Waits for a second of the one's time in which the other gets less than half as much."""
    end = time.monotonic() + 60 * PATIENCE
    while True:
        before, now = seconds(host), seconds(host)
        while now[more] - before[more] < 1:
            assert time.monotonic() < end, (before, now)
            time.sleep(0.2)
            now = seconds(host)
        if now[less] - before[less] < (now[more] - before[more]) / 2:
            return


def test_cpu_time_changes_while_containers_run(host):
    for name in ("one", "two"):
        host.ok("run", "-d", "--name", name, "busybox", "sh", "-c",
                "while :; do :; done & while :; do :; done")
    host.ok("update", "--cpu-shares", "64", "one")
    wins(host, "two", "one")
    host.ok("update", "--cpu-shares", "1024", "one")
    host.ok("update", "--cpus", "0.1", "two")
    wins(host, "one", "two")
    got = host.docker("run", "--name", "half", "--cpus", "0.5", "-d", "busybox", "sleep", "100")
    got = host.docker("update", "--cpus", "2", "half")
    assert got.returncode == 1 and "was started with 1 CPUs" in got.stderr


@pytest.mark.long
def test_many_containers(host):
    """More than a table of 256 channels holds; d0d finds them all again."""
    for n in range(150):
        host.ok("run", "-d", "--name", f"c{n}", "busybox", "sleep", "100000", timeout=300)
    serve(host, "web", "-p", "8081:80")
    page(host, 8081, "I am web")
    host.machine.command("restart d0d", r"monitor: d0d: restarted")
    host.machine.expect(r"^d0d: .* ready$", timeout=120)
    assert host.ok("ps", "-q").count("\n") == 151
    assert host.ok("exec", "c149", "echo", "here") == "here\n"
    page(host, 8081, "I am web")


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
def test_under_load(host):
    serve(host, "web", "-p", "8081:80")
    page(host, 8081, "I am web")
    got = subprocess.run(["wrk", "-t1", "-c8", "-d3", f"http://127.0.0.1:{host.port[8081]}/"],
                         capture_output=True, text=True, check=True, timeout=60)
    assert int(re.search(r"(\d+) requests in", got.stdout).group(1)) > 20, got.stdout
    page(host, 8081, "I am web")


def test_ports_appear_on_this_host(host, tmp_path):
    port = free_port()
    with open(tmp_path / "lines", "w", encoding="utf-8") as lines:
        forwarder = subprocess.Popen([sys.executable, os.path.join(TOP, "tools", "forward.py"),
                                      "--qmp", host.qmp, "--docker",
                                      host.endpoint.rsplit(":", 1)[1]], stdout=lines)
    try:
        serve(host, "web", "-p", f"{port}:80")
        host.port[port] = port
        page(host, port, "I am web")
        host.ok("rm", "-f", "web")
        end = time.monotonic() + 10 * PATIENCE
        while "closed" not in (said := (tmp_path / "lines").read_text()):
            assert time.monotonic() < end, said
            time.sleep(0.2)
        assert f"web: tcp port {port} is at 127.0.0.1:{port}" in said
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", port)) != 0
    finally:
        forwarder.kill()
        forwarder.wait()


COMPOSE = """
version: "3"
services:
  web:
    image: busybox:latest
    command: sh -c 'mkdir /www; echo I am compose > /www/index.html; exec httpd -f -p 80 -h /www'
    ports: ["8081:80"]
  client:
    image: busybox:latest
    command: sh -c 'until wget -q -O - http://web/; do sleep 1; done; exec sleep 100'
"""


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="no docker-compose")
def test_compose(host, tmp_path):
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)

    def compose(*args):
        return subprocess.run(["docker-compose", "-p", "pair", *args], cwd=tmp_path, text=True,
                              capture_output=True, check=True, timeout=120,
                              env={**os.environ, "DOCKER_HOST": host.endpoint}).stdout

    compose("up", "-d")
    page(host, 8081, "I am compose")
    end = time.monotonic() + 20 * PATIENCE
    while "I am compose" not in compose("logs", "--no-color", "client"):
        assert time.monotonic() < end, compose("logs")
        time.sleep(1)
    compose("down", "-t", "1")
    assert "pair" not in host.ok("network", "ls", "--format", "{{.Name}}")
