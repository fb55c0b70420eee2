# SPDX-License-Identifier: ISC
"""The way through everything: a web server in a linux cell, its TCP/IP stack in a transport
cell, the card in the nic cell, and a client outside. What one of them suffers, the others
do not notice."""

import os
import socket
import subprocess
import time

import pytest
from machine import BUILD

READY = r"^d0: ready: "


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port, timeout=5):
    return subprocess.run(["curl", "-sS", "--max-time", str(timeout), f"http://127.0.0.1:{port}/"],
                          capture_output=True, text=True, check=False, timeout=timeout + 5)


def page_comes(m, port, limit=40):
    """Asks until the page comes, as a user would."""
    end = time.monotonic() + limit
    while True:
        got = fetch(port)
        if got.returncode == 0 and "Hello from a container on D0" in got.stdout:
            return
        assert time.monotonic() < end, f"{got.stderr}\n{m.tail()}"
        time.sleep(0.5)


@pytest.fixture
def demo(boot):
    port = free_port()
    m = boot(os.path.join(BUILD, "run.d0a"), smp=2, mem="512M", extra=[
        "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:80",
        "-device", "virtio-net-pci,netdev=net0"])
    m.expect(READY, timeout=60)
    page_comes(m, port)
    return m, port


def test_a_page_comes_out(demo):
    m, port = demo
    for _ in range(20):
        assert fetch(port).returncode == 0, m.tail()
    m.command("ps", r"^monitor: +\d+ web +linux +running +1 ")


@pytest.mark.parametrize("cell", ["nic", "web-net", "web"])
def test_each_part_restarts_alone(demo, cell):
    m, port = demo
    m.command(f"restart {cell}", rf"monitor: {cell}: restarted")
    page_comes(m, port)
    m.command("status", r"^monitor: +up ")
    for other in {"nic", "web-net", "web", "beat-a", "beat-b"} - {cell}:
        m.command("ps", rf"^monitor: +\d+ {other} +\S+ +running +1 +1 ")
