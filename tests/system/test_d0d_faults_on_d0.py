# SPDX-License-Identifier: ISC
"""What goes wrong around d0d on D0: a full disk in each of the ways to fill it, many clients, clients
that are slow or stop in the middle. All in one boot, on a small disk."""

import concurrent.futures
import json
import os
import socket
import subprocess

import pytest
from conftest import make_archive
from d0d_lib import busybox_layer, docker_archive, docker_cli, image_config, tar_of
from d0d_registry import MemoryRegistry, check_push
from machine import BUILD, PATIENCE, TOP
from test_d0d_cli import wait_for
from test_d0d_cli_on_d0 import D0, OnD0

pytestmark = pytest.mark.skipif(not docker_cli(), reason="no docker CLI")
DISK, FAT = 48 << 20, 4 << 20
FULL = b"no space left on device"


class Small(D0):
    """A D0 with a small disk, and a registry that it may speak to in clear."""

    def __init__(self, folder):  # pylint: disable=super-init-not-called
        self.registry = MemoryRegistry()
        self.hub = f"10.0.2.2:{self.registry.port}"
        with open(os.path.join(TOP, "conf", "docker.conf"), encoding="utf-8") as f:
            conf = f.read().replace("--backend,d0,", f"--backend,d0,--insecure-registry,{self.hub},")
        archive = make_archive(folder, conf, ["heartbeat", "monitor", "nic", "transport", "store"], high=["linux"],
                               data={"demo-root": f"{BUILD}/demo-root.tar", "d0d-root": f"{BUILD}/d0d-root.tar"})
        self.disk = os.path.join(folder, "disk")
        with open(self.disk, "wb") as f:
            f.truncate(DISK)
        self.boot(folder, archive, self.disk)


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    host = Small(tmp_path_factory.mktemp("small"))
    d = OnD0(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    # What doesn't get smaller when it is stored, for containers to write.
    d.run("load", stdin=docker_archive("fat:1", [busybox_layer(), tar_of([("f", "f", os.urandom(FAT), 0o644)])],
                                       {"Cmd": ["sh"]}))
    yield d
    host.machine.stop()
    host.registry.stop()
    check = subprocess.run([f"{BUILD}/bin/d0fs", "check", host.disk], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stdout + check.stderr


def names(docker):
    return set(docker.out("images", "-a", "--format", "{{.Repository}}:{{.Tag}}").split())


def cells_failed(docker):
    return docker.host.machine.find(r"^d0: cell_failed: .*$")


def half_sent(port, head, body=b""):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(head + body)
    return s


@pytest.fixture(scope="module")
def slow(docker):
    """Clients that stop in the middle: of a head, of a body, of an upload."""
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
    port = docker.host.port
    heads = [half_sent(port, b"GET /_p") for _ in range(40)]
    bodies = [half_sent(port, head % b"/containers/create", b'{"Image": "busy') for _ in range(15)]
    uploads = [half_sent(port, head % b"/images/load", docker_archive("slow:1", [busybox_layer()], {})[:3000])
               for _ in range(5)]
    yield heads, bodies, uploads
    for s in heads + bodies + uploads:
        s.close()


def test_slow_clients_hold_nobody_up(docker, slow):
    assert docker.out("run", "--rm", "busybox", "echo", "quick") == "quick"
    docker.run("load", stdin=docker_archive("beside:1", [busybox_layer()], {"Cmd": ["true"]}))
    docker.run("rmi", "beside:1")


def test_a_hundred_clients_at_once(docker, slow):
    """Beside the slow ones: each gets its answer, and one name is given once."""
    paths = ["/containers/json?all=1", "/images/json", "/info", "/version", "/system/df"]
    request = json.dumps({"Image": "busybox", "Cmd": ["true"]}).encode()
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        jobs = [pool.submit(docker.raw, "GET", paths[i % len(paths)]) for i in range(60)]
        made = [pool.submit(docker.raw, "POST", "/containers/create?name=one", request,
                            ["Content-Type: application/json"]) for _ in range(40)]
        answers = [j.result() for j in jobs]
        created = sorted(j.result()[0] for j in made)
    assert all(status == 200 and json.loads(body) is not None for status, body in answers)
    assert created == [201] + [409] * 39
    assert docker.out("ps", "-a", "--format", "{{.Names}}") == "one"
    docker.run("rm", "one")


def test_a_push_gives_back_what_was_pulled(docker):
    check_push(docker, docker.host.hub, docker.host.registry, False)


def test_a_full_disk_ends_a_load(docker, slow):
    before = names(docker)
    status, body = docker.raw("POST", "/images/load", docker_archive(
        "huge:1", [tar_of([("f", "f", os.urandom(DISK), 0o644)])], {"Cmd": ["x"]}))
    assert status == 500 and FULL in body and json.loads(body)["message"]
    assert names(docker) == before and not cells_failed(docker)
    assert docker.out("run", "--rm", "busybox", "echo", "still") == "still"
    wait_for(lambda: docker.run("create", "--name", "room", "busybox", code=None)[1] == "")
    docker.run("rm", "room")


def test_a_full_disk_ends_a_pull(docker, slow):
    reg, layer = docker.host.registry, tar_of([("f", "f", os.urandom(DISK), 0o644)])
    reg.add_image("big/one", "1", image_config([layer], {"Cmd": ["x"]}), [layer], "application/vnd.oci.image.layer.v1.tar")
    before = names(docker)
    assert FULL.decode() in docker.err("pull", f"{docker.host.hub}/big/one:1", timeout=120)
    assert names(docker) == before and not cells_failed(docker)
    assert docker.out("run", "--rm", "busybox", "echo", "still") == "still"


@pytest.mark.long
def test_a_container_fills_the_disk(docker, slow):
    """It hears of it, what else would fill it says so, and removing it gives the space back."""
    before = names(docker)
    docker.run("run", "-d", "--name", "glutton", "fat:1", "sh", "-c",
               "while cat /f >> /big; do :; done; echo full; trap 'exit 0' TERM; while :; do sleep 0.2; done")
    with subprocess.Popen([docker.cli, "logs", "-f", "glutton"], env=docker.env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as logs:
        assert logs.stdout.readline() == b"full\n"
        assert FULL in logs.stderr.readline().lower()
        logs.kill()
    assert FULL.decode() in docker.err("commit", "glutton", "made:1")
    for i in range(12):  # what failed before has given its space back
        done = docker.raw("PUT", "/containers/glutton/archive?path=/",
                          tar_of([(f"more{i}", "f", os.urandom(FAT), 0o644)]))
        if done[0] != 200:
            break
    assert done[0] == 500 and FULL in done[1]
    assert names(docker) == before and not cells_failed(docker)
    assert docker.out("exec", "glutton", "echo", "alive") == "alive"
    docker.run("rm", "-f", "glutton")
    # Not at once: what each attempt writes has to be given back as well.
    wait_for(lambda: docker.raw("POST", "/images/load", docker_archive("new:1", [tar_of(
        [("f", "f", os.urandom(FAT), 0o644)])], {"Cmd": ["x"]}))[0] == 200, 60 * PATIENCE, 5)
    docker.run("rmi", "new:1")


def test_slow_heads_are_ended(docker, slow):
    """They had 30 seconds."""
    for s in slow[0]:
        s.settimeout(60 * PATIENCE)
        assert s.recv(100).startswith(b"HTTP/1.1 408 ")
    assert docker.out("run", "--rm", "busybox", "echo", "fine") == "fine"
    assert not cells_failed(docker)
