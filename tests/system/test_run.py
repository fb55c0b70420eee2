# SPDX-License-Identifier: ISC
"""`make run` as a process: whatever ends it, no machine is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from machine import BUILD, PATIENCE, TOP
from test_demo import free_port


def machines(disk):
    """The processes that have the disk on their command line, but for run.py."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if words[0].startswith(b"qemu") and any(disk.encode() in w for w in words):
            found.append(int(pid))
    return found


def until(what, seconds):
    end = time.monotonic() + seconds * PATIENCE
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return what()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_the_machine_ends_with_who_started_it(tmp_path, number):
    disk = str(tmp_path / "disk.h2")
    with open(tmp_path / "console", "wb") as console:
        run = subprocess.Popen(
            [sys.executable, os.path.join(TOP, "tools", "run.py"), "--image", f"{BUILD}/demo-image.tar",
             "--disk", disk, "--out", str(tmp_path / "run"), "--web-port", str(free_port()),
             "--docker-port", str(free_port()), "--dashboard-port", str(free_port()), "--", "-m", "512M"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        try:
            assert until(lambda: machines(disk), 30), (tmp_path / "console").read_text()
            time.sleep(0.5)
            run.send_signal(number)
            assert until(lambda: not machines(disk), 10)
            run.wait(10)
        finally:
            run.kill()
            for pid in machines(disk):
                os.kill(pid, signal.SIGKILL)
