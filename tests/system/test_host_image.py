# SPDX-License-Identifier: ISC
"""What `make iso` makes, booted as a machine would: GRUB, an address by DHCP, a blank disk that
only a boot parameter gives away, and an endpoint that speaks to nobody without a certificate."""

import hashlib
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest
from machine import BUILD, PATIENCE
from test_demo import free_port

DOCKER = shutil.which("docker")
CLIENT = os.path.join(BUILD, "keys", "tls", "client")
pytestmark = pytest.mark.skipif(not DOCKER, reason="no docker command")


def docker(port, *args, certs=CLIENT):
    return subprocess.run([DOCKER, "--tlsverify", *(f"--tls{x}={certs}/{x}.pem" for x in ("cert", "key")),
                           f"--tlscacert={certs}/ca.pem", "-H", f"tcp://127.0.0.1:{port}", *args],
                          capture_output=True, text=True, check=False, timeout=60 * PATIENCE)


def start(boot, disk, address="10.0.2.15", **kw):
    api, dash, web = free_port(), free_port(), free_port()
    m = boot(smp=2, mem="512M", extra=[
        "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{api}-{address}:2376,"
        f"hostfwd=tcp:127.0.0.1:{dash}-{address}:8443,hostfwd=tcp:127.0.0.1:{web}-{address}:8081", "-device", "e1000e,netdev=net0",
        "-drive", f"if=none,id=d,format=raw,file={disk}", "-device", "nvme,drive=d,serial=d0"], **kw)
    m.expect(r"^d0d: .* ready$", timeout=90)
    return m, api, dash, web


def answer(port):
    """The title of the page, once it is there."""
    got = subprocess.run(["curl", "-sS", "--retry", "20", "--retry-all-errors", "--retry-delay", "1",
                          "--max-time", "60", f"http://127.0.0.1:{port}/"], capture_output=True,
                         text=True, check=False)
    assert "<title>" in got.stdout, got.stderr
    return got.stdout.split("<title>")[1].split("<")[0]


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def test_the_image_as_it_is(boot, tmp_path):
    disk = str(tmp_path / "disk")
    subprocess.run(["truncate", "-s", "256M", disk], check=True)
    blank = digest(disk)
    m, api, dash, web = start(boot, disk, iso=os.path.join(BUILD, "d0.iso"))
    assert "bound to 10.0.2.15" in m.log
    got = docker(api, "version", "--format", "{{.Server.Version}}")
    assert got.returncode == 0 and got.stdout.strip(), got.stderr
    plain = subprocess.run([DOCKER, "-H", f"tcp://127.0.0.1:{api}", "version"], capture_output=True,
                           check=False, timeout=60)
    assert plain.returncode != 0
    trust = ssl.create_default_context(cafile=f"{CLIENT}/ca.pem")
    for port in (api, dash):
        with pytest.raises((urllib.error.URLError, OSError)):
            urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=trust, timeout=20).read()
    trust.load_cert_chain(f"{CLIENT}/cert.pem", f"{CLIENT}/key.pem")
    page = urllib.request.urlopen(f"https://127.0.0.1:{dash}/", context=trust, timeout=20).read()
    assert b"<html" in page.lower()
    assert docker(api, "load", "-i", os.path.join(BUILD, "demo-image.tar")).returncode == 0
    got = docker(api, "run", "-d", "-p", "8081:80", "d0/demo")
    assert got.returncode == 0, got.stderr
    assert answer(web) == "Hello from D0"
    names = docker(api, "exec", got.stdout.strip(), "cat", "/etc/resolv.conf").stdout
    assert "nameserver 10.0.2.3" in names  # DHCP said so
    m.stop()
    assert digest(disk) == blank


def test_a_disk_and_an_address_by_boot_parameters(boot, tmp_path):
    disk = str(tmp_path / "disk")
    subprocess.run(["truncate", "-s", "256M", disk], check=True)
    for round_number in range(2):
        m, api, _, web = start(boot, disk, address="10.0.2.77", archive=os.path.join(BUILD, "host.d0a"),
                          append="d0.store=disk:0,create ip=10.0.2.77/24 gw=10.0.2.2 dns=10.0.2.3")
        if round_number == 0:
            got = docker(api, "volume", "create", "kept")
            assert got.returncode == 0, got.stderr
            got = docker(api, "load", "-i", os.path.join(BUILD, "demo-image.tar"))
            assert got.returncode == 0, got.stderr
            got = docker(api, "run", "-d", "--restart", "always", "-p", "8081:80", "d0/demo")
            assert got.returncode == 0, got.stderr
        assert answer(web) == "Hello from D0"
        got = docker(api, "volume", "ls", "-q")
        assert got.stdout == "kept\n", got.stderr
        m.stop()
        subprocess.run([os.path.join(BUILD, "bin", "d0fs"), "check", disk], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
