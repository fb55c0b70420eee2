# SPDX-License-Identifier: ISC
"""Fixtures of the system tests. Every test boots fresh machines, in a folder of its own,
and every machine is ended by its process number when the test is over."""

import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from machine import BUILD, KERNEL, TOP, Bochs, Qemu  # noqa: E402

MKARCHIVE = os.path.join(BUILD, "bin", "d0-mkarchive")
KEY = os.path.join(BUILD, "keys", "signing.key")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes long; not part of `make test`")
    config.addinivalue_line("markers", "bochs: runs in Bochs (set by the fixture)")


def pytest_collection_modifyitems(items):
    for item in items:
        if "bochs" in item.fixturenames:
            item.add_marker("bochs")


def make_archive(folder, conf, cells=(), high=(), data=None, key=KEY, nucleus=KERNEL, number=1):
    """A boot archive from the text of a configuration and names of cells of this build. Its
    path."""
    conf_path, out = folder / f"conf{number}", folder / f"archive{number}"
    conf_path.write_text(conf)
    argv = [MKARCHIVE, "create", "--key", key, "--out", out, "--conf", conf_path,
            "--nucleus", nucleus]
    for name in cells:
        argv += ["--cell", f"{name}={BUILD}/cells/{name}.elf"]
    for name in high:
        argv += ["--cell", f"{name}={BUILD}/cells/{name}.elf,high"]
    for name, path in (data or {}).items():
        argv += ["--data", f"{name}={path}"]
    subprocess.run(argv, check=True, timeout=60)
    return str(out)


@pytest.fixture
def archive(tmp_path):
    """archive(conf, cells=[...], high=[...], data={...}, key=...): make_archive in the test's
    folder."""
    count = 0

    def make(*args, **kwargs):
        nonlocal count
        count += 1
        return make_archive(tmp_path, *args, number=count, **kwargs)

    return make


@pytest.fixture
def iso(tmp_path):
    """iso(archive, cmdline=""): a GRUB ISO with the nucleus and that archive."""

    def make(archive_path, cmdline="", kernel=KERNEL):
        out = str(tmp_path / "d0.iso")
        subprocess.run([os.path.join(TOP, "tools", "mkiso.sh"), out, kernel, archive_path],
                       check=True, timeout=120, env=dict(os.environ, D0_CMDLINE=cmdline))
        return out

    return make


@pytest.fixture
def machines(tmp_path):
    """Keeps what runs, ends it."""
    running = []

    def start(cls, *args, **kwargs):
        cwd = tmp_path / f"m{len(running)}"
        cwd.mkdir()
        machine = cls(str(cwd), *args, **kwargs)
        running.append(machine)
        return machine

    yield start
    for machine in running:
        machine.stop()


@pytest.fixture
def boot(machines):
    """boot(archive, smp=1, ...): QEMU with D0; the arguments are Qemu's."""
    return lambda *args, **kwargs: machines(Qemu, *args, **kwargs)


@pytest.fixture
def bochs(machines):
    """bochs(iso, model, smp=1): Bochs with D0."""
    if not shutil.which("bochs-bin"):
        pytest.skip("bochs is not installed")
    return lambda *args, **kwargs: machines(Bochs, *args, **kwargs)


PAIR = """
cell beat-a image=heartbeat channels=4 priority=5
args beat-a every=50
cell beat-b image=heartbeat channels=4 priority=5
args beat-b interval=10 every=50
channel beat-a beat-b protocol=virtq ring=16K label=beat
"""
MONITOR = """
cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,power,console,control
"""


@pytest.fixture
def pair():
    """Text of a configuration: the heartbeat pair."""
    return PAIR


@pytest.fixture
def monitor():
    """Text of a configuration: the monitor."""
    return MONITOR
