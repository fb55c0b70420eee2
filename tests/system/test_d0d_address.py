# SPDX-License-Identifier: ISC
"""D0 as a container host whose address a DHCP server gives, and changes while containers run."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import make_archive
from d0d_lib import busybox_layer, docker_archive
from machine import BUILD, PATIENCE, TOP, Qemu
from test_d0d_on_d0 import DOCKER
from test_transport_hosted import Net

pytestmark = [pytest.mark.long, pytest.mark.skipif(not DOCKER, reason="no docker command"),
              pytest.mark.skipif(not shutil.which("ip") or os.geteuid(), reason="needs root")]
SERVER = "10.77.0.1"
SERVE = "mkdir /www; echo I am web > /www/index.html; exec httpd -f -p 80 -h /www"


class Dhcp:
    """Gives everybody one address, for twelve seconds, and refuses to renew another."""

    def __init__(self, address):
        self.address, self.done = address, threading.Event()

    def answer(self, m):
        a = socket.inet_aton
        kind, asked = m[m.index(b"\x35\x01", 240) + 2], m.find(b"\x32\x04", 240)
        named = (socket.inet_ntoa(m[asked + 2:asked + 6]) if asked > 0 else "",
                 socket.inet_ntoa(m[12:16]))
        no = kind == 3 and self.address not in named
        opts = bytes([53, 1, 6 if no else 2 if kind == 1 else 5, 54, 4]) + a(SERVER)
        if not no:
            opts += (bytes([51, 4]) + struct.pack(">I", 12) + bytes([1, 4]) + a("255.255.255.0") +
                     bytes([3, 4]) + a(SERVER))
        return (bytes([2, 1, 6, 0]) + m[4:8] + bytes(8) + a("0.0.0.0" if no else self.address) +
                a(SERVER) + bytes(4) + m[28:44] + bytes(192) + b"\x63\x82\x53\x63" + opts + b"\xff")

    def serve(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0\0")
            s.bind(("", 67))
            s.settimeout(0.2)
            while not self.done.is_set():
                try:
                    s.sendto(self.answer(s.recv(2048)), ("255.255.255.255", 68))
                except socket.timeout:
                    pass


def archive_by_dhcp(folder):
    with open(os.path.join(TOP, "conf", "docker.conf"), encoding="utf-8") as f:
        conf = f.read()
    for old, new in (("d0d-net ip=10.0.2.16/24+169.254.0.1/16 gw=10.0.2.2 dns=10.0.2.3",
                      "d0d-net dhcp also=169.254.0.1/16"),
                     ("mode=ipvlan,ip=10.0.2.16+169.254.0.1", "mode=ipvlan,ip=169.254.0.1,learn"),
                     ("10.0.2.16:", "0.0.0.0:")):
        assert old in conf
        conf = conf.replace(old, new)
    return make_archive(folder, conf, ["heartbeat", "monitor", "nic", "store", "transport"],
                        ["linux"], {"demo-root": f"{BUILD}/demo-root.tar",
                                    "d0d-root": f"{BUILD}/d0d-root.tar"})


@pytest.fixture
def wire(tmp_path):
    net, dhcp = Net(tmp_path), Dhcp("10.77.0.99")
    server = threading.Thread(target=lambda: net.inside(dhcp.serve), daemon=True)
    try:
        yield net, dhcp, server
    finally:
        dhcp.done.set()
        if server.ident:
            server.join(5)
        net.close()


def until(net, argv, good, limit=60):
    """Runs it in the namespace again and again until its output is right."""
    end = time.monotonic() + limit * PATIENCE
    while True:
        got = subprocess.run(["ip", "netns", "exec", net.ns, *argv], capture_output=True, text=True,
                             check=False, timeout=60 * PATIENCE)
        if good in got.stdout:
            return got.stdout
        assert time.monotonic() < end, got
        time.sleep(0.5)


def test_the_host_gets_another_address(wire, tmp_path):
    net, dhcp, server = wire
    server.start()
    disk, image = tmp_path / "disk", tmp_path / "image.tar"
    with open(disk, "wb") as f:
        f.truncate(256 << 20)
    image.write_bytes(docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    archive = archive_by_dhcp(tmp_path)
    m = net.inside(lambda: Qemu(str(tmp_path), archive, smp=2, mem="512M", extra=[
        "-drive", f"if=none,id=disk0,format=raw,file={disk}",
        "-device", "virtio-blk-pci,drive=disk0",
        "-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no",
        "-device", "virtio-net-pci,netdev=net0"]))
    try:
        m.expect(r"^d0d: .* ready$", timeout=60)

        def docker(*args):
            return [DOCKER, "-H", f"tcp://{dhcp.address}:2375", *args]

        def page():
            return ["curl", "-sS", "--max-time", "5", f"http://{dhcp.address}:8081/"]

        until(net, docker("load", "-i", str(image)), "busybox:latest")
        until(net, docker("run", "-d", "--name", "web", "-p", "8081:80", "busybox", "sh", "-c",
                          SERVE), "\n")
        until(net, page(), "I am web")
        dhcp.address = "10.77.0.123"
        until(net, page(), "I am web")
        until(net, docker("exec", "web", "ping", "-c", "1", "-W", "3", SERVER), "1 packets received")
    finally:
        m.stop()
