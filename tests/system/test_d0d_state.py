# SPDX-License-Identifier: ISC
"""What outlives what, on D0: images, containers and volumes a reboot; containers the end of d0d;
and nothing is half there after a power cut."""

import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest
from d0d_lib import busybox_layer, docker_archive
from machine import BUILD, PATIENCE, TOP
from test_d0d_on_d0 import DOCKER, blank_disk, start
from test_demo import free_port, page_comes

pytestmark = pytest.mark.skipif(not DOCKER, reason="no docker command")
COUNTER = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    return str(path)


def until(what, limit=40):
    end = time.monotonic() + limit * PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.3)


def status(host, name):
    got = host.docker("inspect", "-f", "{{.State.Status}}", name)
    return got.stdout.strip() if got.returncode == 0 else ""


def d0fs(*args):
    return subprocess.run([f"{BUILD}/bin/d0fs", *args], capture_output=True, text=True, check=False)


def test_a_reboot_brings_everything_back(boot, image, tmp_path):
    disk = blank_disk(tmp_path)
    h = start(boot, "docker.d0a", disk)
    h.ok("load", "-i", image)
    h.ok("tag", "busybox", "mine:1")
    h.ok("run", "-d", "--name", "kept", "--restart", "always", "-v", "vol:/data", "busybox", "sh",
         "-c", "echo started >> /starts; echo v >> /data/f; sync; " + COUNTER)
    assert h.docker("run", "--name", "done", "busybox", "sh", "-c", "echo x > /x; exit 3").returncode == 3
    until(lambda: "line 2" in h.ok("logs", "kept"))
    h.ok("exec", "kept", "sync")
    h.machine.stop()  # without a word to it

    h = start(boot, "docker.d0a", disk)
    assert {"busybox:latest", "mine:1"} <= set(h.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split())
    until(lambda: status(h, "kept") == "running")
    until(lambda: h.docker("exec", "kept", "cat", "/starts").stdout == "started\n" * 2)
    assert h.ok("exec", "kept", "cat", "/data/f") == "v\n" * 2
    assert h.ok("inspect", "-f", "{{.State.ExitCode}}", "done") == "3\n"
    assert "A /x" in h.ok("diff", "done") and h.ok("volume", "ls", "-q") == "vol\n"
    assert "create done" in h.ok("events", "--since", "1h", "--until", "0s", "--format",
                                 "{{.Action}} {{.Actor.Attributes.name}}")
    h.ok("rm", "-f", "kept", "done")
    h.ok("volume", "rm", "vol")
    h.ok("rmi", "mine:1", "busybox")
    assert h.ok("images", "-q") == ""
    time.sleep(6)  # the store's own sync
    h.machine.stop()
    assert not [x for x in d0fs("ls", disk).stdout.split() if x[:4] in ("img-", "lay-") or x[:2] in ("c-", "v-")]


def test_containers_outlive_d0d(boot, image, tmp_path):
    h = start(boot, "docker.d0a", blank_disk(tmp_path))
    h.ok("load", "-i", image)
    h.ok("run", "-d", "--name", "survivor", "busybox", "sh", "-c", "trap 'exit 5' TERM; " + COUNTER)
    h.ok("run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 4; echo last words; exit 4")
    h.ok("run", "-dit", "--name", "term", "busybox", "sh")
    began = h.ok("inspect", "-f", "{{.State.StartedAt}}", "survivor")
    until(lambda: "line 2" in h.ok("logs", "survivor"))
    subprocess.run(["curl", "-sS", "-X", "POST", "--max-time", "20",
                    h.endpoint.replace("tcp", "http") + "/d0/restart"], check=True)
    h.machine.expect(r"cell_restarted: d0d ", timeout=30)
    h.machine.expect(r"^d0d: .* ready$", timeout=60)
    assert status(h, "survivor") == "running"
    assert h.ok("inspect", "-f", "{{.State.StartedAt}}", "survivor") == began
    assert h.ok("exec", "survivor", "echo", "yes") == "yes\n"
    lines = len(h.ok("logs", "survivor").splitlines())
    until(lambda: len(h.ok("logs", "survivor").splitlines()) > lines + 2)
    until(lambda: status(h, "short") == "exited")
    assert h.ok("inspect", "-f", "{{.State.ExitCode}}", "short") == "4\n"
    assert "last words" in h.ok("logs", "short")
    assert status(h, "term") == "running"
    h.ok("stop", "-t", "20", "survivor")
    assert h.ok("inspect", "-f", "{{.State.ExitCode}}", "survivor") == "5\n"
    h.ok("rm", "-f", "survivor", "short", "term")
    left = json.loads(h.get("/status.json"))["cells"]
    assert not [c for c in left if c["name"].startswith("ct-")]


def whole(disk):
    """The volume is good, and each image in it is what its record says."""
    check = d0fs("check", disk)
    assert check.returncode == 0, check.stdout + check.stderr
    images = json.loads(d0fs("--json", "images", disk).stdout or "[]")
    for i in images:
        got = d0fs("images", disk, "verify", i["id"])
        assert got.returncode == 0, got.stdout + got.stderr
    return images


def test_a_power_cut_leaves_nothing_half_made(boot, image, tmp_path, monkeypatch):
    """During load, run, commit and build, each at a moment of its own."""
    disk, seen = blank_disk(tmp_path), 0
    random.seed(int.from_bytes(os.urandom(4), "little"))
    cuts = [(("load", "-i", image), 2.0), (("load", "-i", image), 6.0),
            (("run", "--name", "cut", "busybox", "sh", "-c", "dd if=/dev/urandom of=/big bs=64k count=64; sync"), 3.0),
            (("commit", "base", "made:1"), 3.0), (("build", "-t", "built:1", str(tmp_path / "context")), 4.0)]
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM busybox\nRUN echo x > /x\nCOPY . /y\nCMD sh\n")
    for args, most in cuts:
        h = start(boot, "docker.d0a", disk)
        if args[0] != "load":
            h.ok("load", "-i", image)
        if args[0] == "commit":
            h.ok("run", "--name", "base", "busybox", "dd", "if=/dev/urandom", "of=/big", "bs=64k", "count=32")
        worker = threading.Thread(target=h.docker, args=args)
        worker.start()
        delay = random.random() * most
        time.sleep(delay)
        h.machine.stop()
        worker.join()
        seen += len(whole(disk))
    h = start(boot, "docker.d0a", disk)
    h.ok("load", "-i", image)
    assert h.ok("run", "--rm", "busybox", "echo", "hi") == "hi\n"
    for name in h.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        if "<none>" not in name:
            assert h.ok("run", "--rm", name, "echo", "hi") == "hi\n"
    h.machine.stop()
    assert len(whole(disk)) >= 1


def test_the_demo_is_a_container_of_d0ds(boot, tmp_path):
    """`make run`: the image was imported on the host, the container is made by d0d, once; the page
    comes from it before and after a reboot."""
    disk, port = str(tmp_path / "disk"), free_port()

    def prepare(*args):
        subprocess.run([sys.executable, os.path.join(TOP, "tools", "run.py"), "--image",
                        f"{BUILD}/demo-image.tar", "--disk", disk, "--out", str(tmp_path / "run"),
                        "--only-prepare", *args], check=True, timeout=120)

    prepare()
    made = None
    for boots in (1, 2):
        h = start(boot, str(tmp_path / "run.d0a"), disk, forward=f",hostfwd=tcp:127.0.0.1:{port}-10.0.2.16:80")
        until(lambda: status(h, "web") == "running")
        page_comes(h.machine, port)
        assert h.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == "d0/demo:latest\n"
        assert h.ok("ps", "--format", "{{.Image}} {{.Names}} {{.Ports}}") == "d0/demo:latest web 0.0.0.0:80->80/tcp, [::]:80->80/tcp\n"
        made = made or h.ok("inspect", "-f", "{{.Id}}", "web")
        assert h.ok("inspect", "-f", "{{.Id}}", "web") == made
        assert h.ok("exec", "web", "sh", "-c", "echo again >> /www/index.html; sync; grep -c again /www/index.html") \
            == f"{boots}\n"
        h.machine.stop()
    # A command of one's own replaces it while it is started again; it runs once.
    prepare("--cmd", "/bin/sh -c 'echo once; exit 3'")
    h = start(boot, str(tmp_path / "run.d0a"), disk)
    until(lambda: h.docker("logs", "web").stdout == "once\n")
    until(lambda: status(h, "web") == "exited")
    assert h.ok("inspect", "-f", "{{.State.ExitCode}} {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}", "web") \
        == "3 0 no\n"
    h.machine.stop()
