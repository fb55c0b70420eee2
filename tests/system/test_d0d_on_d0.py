# SPDX-License-Identifier: ISC
"""d0d in a linux cell of the host it manages: the stock docker command and a browser's requests
from outside, through QEMU's user network, the nic cell and d0d's own transport cell."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest
from d0d_lib import busybox_layer, docker_archive
from machine import BUILD, PATIENCE, TOP
from test_demo import free_port

DOCKER = shutil.which("docker")
pytestmark = pytest.mark.skipif(not DOCKER, reason="no docker command")


class Host:
    def __init__(self, machine, docker_port, dash_port):
        self.machine, self.url = machine, f"http://127.0.0.1:{dash_port}"
        self.endpoint = f"tcp://127.0.0.1:{docker_port}"

    def docker(self, *args, timeout=60, stdin=None):
        return subprocess.run([DOCKER, "-H", self.endpoint, *args], capture_output=True, text=stdin
                              is None, check=False, timeout=timeout * PATIENCE, input=stdin)

    def ok(self, *args, **kw):
        got = self.docker(*args, **kw)
        assert got.returncode == 0, f"{args}: {got.stderr}\n{self.machine.tail()}"
        return got.stdout

    def get(self, path):
        got = subprocess.run(["curl", "-sS", "--fail", "--max-time", "10", self.url + path],
                             capture_output=True, text=True, check=False)
        assert got.returncode == 0, f"{got.stderr}\n{self.machine.tail()}"
        return got.stdout


def blank_disk(folder):
    path = str(folder / "disk")
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.truncate(1 << 30)
    return path


def start(boot, archive, disk, pinned=False, forward=""):
    docker_port, dash_port = free_port(), free_port()
    m = boot(os.path.join(BUILD, archive), smp=2, mem="512M", extra=[
        "-drive", f"if=none,id=disk0,format=raw,file={disk}",
        "-device", "virtio-blk-pci,drive=disk0",
        "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{docker_port}-10.0.2.16:2375,"
        f"hostfwd=tcp:127.0.0.1:{dash_port}-10.0.2.16:8080{forward}",
        "-device", "virtio-net-pci,netdev=net0"])
    if pinned:
        m.pin(min(os.sched_getaffinity(0)))
    m.expect(r"^d0d: .* ready$", timeout=60)
    return Host(m, docker_port, dash_port)


@pytest.fixture
def host(boot, archive, tmp_path):
    """The monitor, not d0d, may restart cells here."""
    with open(os.path.join(TOP, "conf", "docker.conf"), encoding="utf-8") as f:
        conf = f.read().replace("caps=inspect,power,console", "caps=inspect,power,console,control")
    conf = conf.replace("caps=inspect,control", "caps=inspect")
    return start(boot, archive(conf, ["heartbeat", "monitor", "nic", "transport", "store"],
                               high=["linux"], data={"demo-root": f"{BUILD}/demo-root.tar",
                                                     "d0d-root": f"{BUILD}/d0d-root.tar"}),
                 blank_disk(tmp_path))


@pytest.fixture
def loaded(boot, tmp_path):
    """d0d with the right to make cells, and an image."""
    h = start(boot, "docker.d0a", blank_disk(tmp_path))
    (tmp_path / "image.tar").write_bytes(docker_archive(
        "busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    assert "busybox:latest" in h.ok("load", "-i", str(tmp_path / "image.tar"))
    return h


def cells(host):
    return {c["name"]: c for c in json.loads(host.get("/status.json"))["cells"]}


def test_the_endpoint_and_the_dashboard_answer(host):
    version = json.loads(host.ok("version", "--format", "{{json .Server}}"))
    assert version["Os"] == "linux" and version["Platform"]["Name"] == "D0"
    info = json.loads(host.ok("info", "--format", "{{json .}}"))
    assert info["NCPU"] == 2 and 400 << 20 < info["MemTotal"] <= 512 << 20
    assert ["Backend", "d0"] in info["DriverStatus"]
    assert host.ok("ps", "-a", "-q") == ""
    assert "verification" in host.get("/").lower()
    assert host.get("/metrics").rstrip().endswith("# EOF")


def test_the_dashboard_shows_the_cells_and_their_ring(host):
    before = cells(host)
    assert {"nic", "web", "web-net", "d0d", "d0d-net", "monitor"} <= set(before)
    assert before["nic"]["kind"] == "nic" and before["d0d"]["kind"] == "linux"
    assert all(c["state"] == "running" and c["memory"] > 0 for c in before.values())
    host.machine.command("restart web", r"monitor: web: restarted")
    end = time.monotonic() + 30 * PATIENCE
    while True:
        after = cells(host)
        checked = sum(c["verified"] for c in after.values()) - \
            sum(c["verified"] for c in before.values())
        if after["web"]["restarts"] == 1 and checked > 0:
            break
        assert time.monotonic() < end, (before, after)
        time.sleep(0.5)
    assert after["nic"]["restarts"] == 0


def test_a_container_runs_in_a_cell_of_its_own(loaded):
    assert loaded.ok("run", "--rm", "busybox", "echo", "hi") == "hi\n"
    got = loaded.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (got.returncode, got.stdout, got.stderr) == (7, "out\n", "err\n")
    count = ("busybox", "grep", "-c", "^processor", "/proc/cpuinfo")
    assert loaded.ok("run", "--rm", *count) == "2\n"
    assert loaded.ok("run", "--rm", "--cpus", "0.5", *count) == "1\n"
    got = loaded.docker("run", "--rm", "busybox", "nosuch")
    assert got.returncode == 127 and "not found in $PATH" in got.stderr
    out = loaded.ok("run", "--rm", "-e", "A=b", "-w", "/tmp", "-u", "33:33", "-h", "named", "busybox",
                    "sh", "-c", "echo $A; pwd; id -u; hostname; cat /etc/hostname")
    assert out == "b\n/tmp\n33\nnamed\nnamed\n"
    assert loaded.docker("run", "--rm", "-p", "2375:80", "busybox", "true").returncode == 125
    assert loaded.ok("ps", "-a", "-q") == ""
    left = json.loads(loaded.get("/status.json"))["cells"]
    assert not [c for c in left if c["name"].startswith("ct-")]


def test_input_comes_through_whole(loaded):
    text = "".join(f"line {i}\n" for i in range(40000))
    assert loaded.ok("run", "--rm", "-i", "busybox", "cat", stdin=text.encode()) == text.encode()


MISSES = """\
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#include <fcntl.h>
int holes(void)
{
    int fd = open("/tmp/holes", O_RDWR | O_CREAT, 0600);
    return pwrite(fd, "x", 1, 3 << 20) == 1 && lseek(fd, 0, SEEK_DATA) == 3 << 20 &&
           lseek(fd, 10, SEEK_HOLE) == 10 && lseek(fd, 3 << 20, SEEK_HOLE) == (3 << 20) + 1 ? 0 : 9;
}
int main(void)
{
	for (int i = 0; i < 3; i++)
		syscall(SYS_add_key, 0, 0, 0, 0, 0);
	return syscall(SYS_io_uring_setup, 1, 0) == -1 ? holes() : 1;
}
"""


def see_what_it_misses(loaded, tmp_path):
    """A user finds the calls that a container made in vain, by name and with their number."""
    (tmp_path / "misses.c").write_text(MISSES)
    subprocess.run(["gcc", "-O2", "-static", "-o", tmp_path / "misses", tmp_path / "misses.c"], check=True)
    loaded.ok("cp", str(tmp_path / "misses"), "one:/misses")
    loaded.ok("exec", "one", "/misses")
    lines = loaded.ok("exec", "one", "cat", "/proc/d0/syscalls").splitlines()
    assert "248 add_key 3 missing" in lines and "425 io_uring_setup 1 refused" in lines
    assert any(re.match(r"1 write \d+$", x) for x in lines)


def test_exec_pause_and_stop(loaded, tmp_path):
    loaded.ok("run", "-d", "--name", "one", "busybox", "sh", "-c",
              "trap 'exit 5' TERM; echo begun; while :; do sleep 0.1; done")
    many = [str(i) for i in range(1000)]
    assert loaded.ok("exec", "one", "sh", "-c", "echo $#", "sh", *many) == "1000\n"
    got = loaded.docker("exec", "one", "sh", "-c", "echo inside; exit 3")
    assert (got.returncode, got.stdout) == (3, "inside\n")
    see_what_it_misses(loaded, tmp_path)
    loaded.ok("pause", "one")
    assert "Paused" in loaded.ok("ps", "--format", "{{.Status}}")
    assert [c for c in cells(loaded).values() if c["name"].startswith("ct-")][0]["state"] == "paused"
    loaded.ok("unpause", "one")
    loaded.ok("stop", "-t", "10", "one")
    assert loaded.ok("inspect", "-f", "{{.State.ExitCode}}", "one") == "5\n"
    assert loaded.ok("logs", "one") == "begun\n"
    loaded.ok("rm", "one")


def test_output_that_nobody_takes_holds_up_nobody_else(loaded):
    loaded.ok("run", "-d", "--name", "one", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    with subprocess.Popen([DOCKER, "-H", loaded.endpoint, "exec", "one", "sh", "-c",
                           "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"],
                          stdout=subprocess.PIPE) as stuck:
        time.sleep(3)
        for _ in range(3):
            assert loaded.ok("exec", "one", "echo", "hi", timeout=20) == "hi\n"
        start = time.monotonic()
        loaded.ok("stop", "-t", "1", "one")
        assert time.monotonic() - start < 60  # and not until its output is taken
        assert loaded.ok("inspect", "-f", "{{.State.ExitCode}}", "one") == "137\n"
        stuck.kill()


def test_two_cpus_on_one(boot, tmp_path):
    """A host that runs both CPUs on one of its own: waiting for a lock whose next owner isn't
    running must not stop the others."""
    start(boot, "docker.d0a", blank_disk(tmp_path), pinned=True).ok("version")
