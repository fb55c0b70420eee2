# SPDX-License-Identifier: ISC
"""Who may talk to d0d and how: TLS with client certificates, other clients (d0ctl, the CLI of
Debian 12, compose), the static program, slow clients, kills in the middle of work."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from d0d_lib import TOP, Docker, Host, busybox_layer, debian_cli, docker_archive, docker_cli, tar_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not docker_cli(),
                                reason="needs root and a docker CLI")
D0CTL = os.path.join(TOP, "build", "bin", "d0ctl")


def openssl(where, *args):
    subprocess.run(["openssl", *args], cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    d = tmp_path_factory.mktemp("certs")
    openssl(d, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca-key.pem",
            "-out", "ca.pem", "-days", "2", "-subj", "/CN=test CA")
    for name, ext in (("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"),
                      ("client", "extendedKeyUsage=clientAuth")):
        openssl(d, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + "-key.pem",
                "-out", name + ".csr", "-subj", "/CN=" + name)
        (d / "ext").write_text(ext)
        openssl(d, "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
                "-out", name + ".pem", "-days", "2", "-extfile", "ext")
    return d


@pytest.fixture(scope="module")
def docker(certs):
    host = Host("--host", "0.0.0.0:2376", "--tls-cert", str(certs / "server.pem"), "--tls-key",
                str(certs / "server-key.pem"), "--tls-ca", str(certs / "ca.pem"), program=os.path.join(TOP, "build", "bin", "d0d-static"))
    d = Docker(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    yield d
    host.close()


def test_tls_needs_a_client_certificate(docker, certs):
    """The static program, over TLS: everything works with a certificate, nothing without."""
    base = docker.host.enter(docker.cli, "-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", str(certs / "ca.pem"))
    me = ["--tlscert", str(certs / "client.pem"), "--tlskey", str(certs / "client-key.pem")]
    done = subprocess.run([*base, *me, "run", "--rm", "-i", "busybox", "cat"], env=dict(os.environ), input=b"over tls",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.stdout == b"over tls", done.stderr
    big = os.urandom(1 << 20).hex().encode()
    done = subprocess.run([*base, *me, "run", "--rm", "-i", "busybox", "cat"], input=big, stdout=subprocess.PIPE,
                          timeout=30, check=False)
    assert done.stdout == big
    for args in ([], ["--tlscert", str(certs / "server.pem"), "--tlskey", str(certs / "client-key.pem")]):
        done = subprocess.run([*base, *args, "ps"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
        assert done.returncode == 1
    done = docker.host.sh("curl", "-sk", "https://127.0.0.1:2376/_ping")
    assert done.stdout == b"" and done.returncode != 0
    assert docker.host.sh("curl", "-s", "http://127.0.0.1:2376/_ping").stdout == b""


def test_d0ctl():
    host = Host()
    try:
        archive = os.path.join(host.dir, "a.tar")
        with open(archive, "wb") as f:
            f.write(docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))

        def ctl(*args, code=0):
            done = host.sh(D0CTL, *args)
            assert done.returncode == code, done.stdout
            return done.stdout.decode().strip()
        assert ctl("ping") == "OK"
        assert ctl("load", archive) == "Loaded image: busybox:latest"
        assert "busybox:latest" in ctl("images")
        cid = ctl("run", "busybox", "sh", "-c", "echo hello; exit 3")
        assert ctl("wait", cid) == "3"
        assert ctl("logs", cid) == "hello"
        assert "Exited (3)" in ctl("ps", "-a")
        assert cid in ctl("inspect", cid)
        ctl("rm", cid)
        assert "No such container" in ctl("start", cid, code=1)
    finally:
        host.close()


def test_the_cli_of_debian_12(docker):
    cli = debian_cli()
    if not cli:
        pytest.skip("Debian's docker.io can't be downloaded here")
    d = type(docker)(docker.host, cli=cli)
    assert d.out("version", "-f", "{{.Client.APIVersion}} {{.Server.APIVersion}}").startswith("1.41")
    assert d.out("run", "--rm", "-i", "busybox", "cat", stdin=b"old") == "old"
    d.run("run", "-d", "--name", "ow", "busybox", "sh", "-c", "echo out; sleep 60")
    assert d.out("exec", "ow", "echo", "in") == "in"
    assert d.out("logs", "ow") == "out"
    assert "ow" in d.out("ps") and "ow" in d.out("stats", "--no-stream")
    d.run("exec", "ow", "sh", "-c", "exit 4", code=4)
    d.run("rm", "-f", "ow")


COMPOSE = """
version: "2.4"
services:
  web:
    image: busybox
    command: httpd -f -h /var/www
    ports: ["127.0.0.1:8055:80"]
  client:
    image: busybox
    command: sh -c 'sleep 1; wget -qO- http://web/; sleep 60'
    depends_on: [web]
    volumes: ["data:/data"]
volumes:
  data: {}
"""


def compose():
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    done = subprocess.run([docker_cli(), "compose", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return [docker_cli(), "compose"] if done.returncode == 0 else None


@pytest.mark.skipif(not docker_cli() or not compose(), reason="no compose here")
def test_compose(docker, tmp_path):
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)

    def run(*args):
        done = subprocess.run([*compose(), "-p", "two", *args], env=docker.env, cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60, check=False)
        assert done.returncode == 0, done.stdout.decode() + docker.host.read_log()
        return done.stdout.decode()
    run("up", "-d")
    assert "two_web_1" in run("ps") or "two-web-1" in run("ps")
    deadline = time.time() + 10
    while "hello from the container" not in run("logs", "client") and time.time() < deadline:
        time.sleep(0.3)
    assert "hello from the container" in run("logs", "client")
    assert b"hello" in docker.host.sh("curl", "-s", "http://127.0.0.1:8055/").stdout
    run("down", "-v", "-t", "1")
    assert docker.out("ps", "-aq") == "" and docker.out("volume", "ls", "-q") == ""
    assert "two" not in docker.out("network", "ls", "--format", "{{.Name}}")


def test_kill_during_load_leaves_no_half_image(docker):
    """d0d dies while an archive arrives, and while it unpacks: afterwards nothing of it is there."""
    big = docker_archive("big:1", [tar_of([(f"f{i}", "f", os.urandom(1 << 20), 0o644) for i in range(24)])], {"Cmd": ["x"]})
    before = sorted(os.listdir(os.path.join(docker.host.dir, "state", "blobs")))
    for delay in (0.02, 0.06, 0.12, 0.2):
        p = subprocess.Popen(["curl", "-s", "--unix-socket", docker.host.sock, "-X", "POST", "--data-binary", "@-",
                              "http://d/images/load"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            p.stdin.write(big[:len(big) // 2] if delay < 0.05 else big)
            if delay >= 0.05:
                p.stdin.close()
        except BrokenPipeError:
            pass
        time.sleep(delay)
        docker.host.kill(signal.SIGKILL)
        p.kill()
        p.wait()
        docker.host.start()
        if docker.out("images", "-q", "big:1"):  # it was quick enough: then it is whole
            docker.run("rmi", "big:1")
        assert sorted(os.listdir(os.path.join(docker.host.dir, "state", "blobs"))) == before
        assert len(os.listdir(os.path.join(docker.host.dir, "state", "backend", "trees"))) == 1
    assert docker.out("run", "--rm", "busybox", "echo", "fine") == "fine"


def test_disk_full():
    """The state on a tiny file system: an error, nothing half-made, and it goes on working."""
    host = Host()
    try:
        host.kill(signal.SIGTERM)
        state = os.path.join(host.dir, "state")
        shutil.rmtree(state)
        os.mkdir(state)
        assert host.sh("mount", "-t", "tmpfs", "-o", "size=12m", "none", state).returncode == 0
        host.start()
        d = Docker(host)
        d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
        huge = docker_archive("huge:1", [tar_of([("f", "f", os.urandom(16 << 20), 0o644)])], {"Cmd": ["x"]})
        status, body = d.raw("POST", "/images/load", huge)
        assert status == 500 and b"No space left" in body
        assert d.out("images", "--format", "{{.Repository}}") == "busybox"
        assert d.out("run", "--rm", "busybox", "echo", "still") == "still"
    finally:
        host.close()


def test_slow_clients_hold_nobody_up(docker):
    slow = [subprocess.Popen(docker.host.enter("python3", "-c", "import socket,time\n"
                                               "s=socket.create_connection(('127.0.0.1',2375))\n"
                                               "s.sendall(b'GET /_p'); time.sleep(600)"))
            for _ in range(10)]
    try:
        time.sleep(0.3)
        began = time.time()
        assert docker.out("run", "--rm", "busybox", "echo", "quick") == "quick"
        assert time.time() - began < 60
    finally:
        for p in slow:
            p.kill()
            p.wait()
