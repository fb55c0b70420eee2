# SPDX-License-Identifier: ISC
"""The way through everything: a web server in a linux cell, its TCP/IP stack in a transport
cell, the card in the nic cell, and a client outside. What one of them suffers, the others
do not notice."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from machine import BUILD, TOP

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


def prepare(folder, *args):
    """What `make run` prepares: a disk with the image, an archive that starts it."""
    disk = str(folder / "disk.h2")
    subprocess.run([sys.executable, os.path.join(TOP, "tools", "run.py"), "--image",
                    f"{BUILD}/demo-image.tar", "--disk", disk, "--out", str(folder / "run"),
                    "--only-prepare", "--control", "monitor", *args], check=True, timeout=120)
    return str(folder / "run.d0a"), disk


def start(boot, archive, disk, port):
    return boot(archive, smp=2, mem="512M", extra=[
        "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:80",
        "-device", "virtio-net-pci,netdev=net0",
        "-drive", f"if=none,id=disk0,format=raw,file={disk}",
        "-device", "virtio-blk-pci,drive=disk0"])


@pytest.fixture
def demo(boot, tmp_path):
    port = free_port()
    m = start(boot, *prepare(tmp_path), port)
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
    for other in {"nic", "web-net", "web", "store", "beat-a", "beat-b"} - {cell}:
        m.command("ps", rf"^monitor: +\d+ {other} +\S+ +running +1 +1 ")


def test_what_a_container_writes_is_there_after_a_reboot(boot, tmp_path):
    command = "/bin/sh -c 'echo again >> /www/index.html; sync; exec httpd -f -p 80 -h /www'"
    archive, disk = prepare(tmp_path, "--cmd", command)
    for starts in (1, 2):
        port = free_port()
        m = start(boot, archive, disk, port)
        m.expect(READY, timeout=60)
        page_comes(m, port)
        assert fetch(port).stdout.count("again") == starts
        m.stop()
    subprocess.run([f"{BUILD}/bin/d0fs", "check", disk], check=True, stdout=subprocess.DEVNULL)


class Reader(threading.Thread):
    """Takes what a pipe gives until it ends, and its digest."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.digest, self.count = pipe, hashlib.sha256(), 0

    def run(self):
        while data := self.pipe.read1(65536):
            self.digest.update(data)
            self.count += len(data)

    def wait_for(self, count):
        while self.count < count:
            assert self.is_alive(), f"ended after {self.count} bytes"
            time.sleep(0.01)


def test_restarts_do_not_end_a_transfer(boot, tmp_path):
    part = "".join(f"{n}\n" for n in range(1, 100001))
    big = "".join(f"part {n}\n{part}" for n in range(1, 33)).encode()
    want = hashlib.sha256(big).hexdigest()
    script = ("cd /www; [ -f big ] || { seq 1 100000 > a; for n in `seq 1 32`; do echo part $n; cat a; done > b; "
              "mv b big; sync; }; exec httpd -f -p 80 -h /www")
    archive, disk = prepare(tmp_path, "--cmd", f"/bin/sh -c '{script}'")
    port = free_port()
    m = start(boot, archive, disk, port)
    m.expect(READY, timeout=90)
    page_comes(m, port, limit=90)
    m.command("restart web", r"monitor: web: restarted")  # its cache is cold now
    page_comes(m, port)
    curl = subprocess.Popen(["curl", "-sS", "--max-time", "240", "--limit-rate", "1M",
                             f"http://127.0.0.1:{port}/big"], stdout=subprocess.PIPE)
    # All the time: with a reader that pauses, the server waits and asks the store for nothing.
    got = Reader(curl.stdout)
    got.start()
    for so_far in (1 << 20, 4 << 20):
        got.wait_for(so_far)
        m.command("restart store", r"monitor: store: restarted")
        # The file may be in the container's cache by now: a name that it has not met asks the store.
        subprocess.run(["curl", "-s", "--max-time", "60", f"http://127.0.0.1:{port}/{so_far}"],
                       stdout=subprocess.DEVNULL, check=True)
        m.expect(r"^web: store: connected again", timeout=30)
    # The cells that the bytes go through: connections are adopted, what was under way is sent again.
    for cell in ("nic", "web-net"):
        m.command(f"restart {cell}", rf"monitor: {cell}: restarted")
        got.wait_for(min(got.count + (2 << 20), len(big)))
    got.join()
    assert curl.wait(10) == 0 and got.digest.hexdigest() == want, m.tail()
    m.command("ps", r"^monitor: +\d+ web +linux +running +1 +2 ")
