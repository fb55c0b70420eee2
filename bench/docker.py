# SPDX-License-Identifier: ISC
"""Containers through the Docker API: D0 with d0d beside a Linux guest (Debian's cloud kernel) with
dockerd, containerd and runc, each in the same QEMU with a virtio disk and 2 CPUs, in one run. The
containers have no network on either side. Merges its rows into build/bench.json.

COUNT= containers of the series (50), RUNS= repetitions of the short ones (5)."""

import concurrent.futures
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "system"))
import docker_guest  # noqa: E402
from common import BUILD, publish, row  # noqa: E402
from d0d_lib import busybox_layer, docker_archive, docker_cli, tar_of  # noqa: E402

COUNT = int(os.environ.get("COUNT", "50"))
RUNS = int(os.environ.get("RUNS", "5"))
WIDE = 8  # containers started at a time in the parallel series
MEMORY = 2048
PEER = "dockerd, containerd, runc on Linux"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Host:
    def __init__(self, name, argv, guest_port, tmp):
        self.name, self.port = name, free_port()
        self.log = open(f"{tmp}/{name}.log", "wb")
        self.began = time.monotonic()
        self.proc = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m",
             str(MEMORY), "-smp", "2", "-display", "none", "-no-reboot", "-nic", "none", "-serial",
             f"file:{tmp}/{name}.console", "-netdev",
             f"user,id=n,hostfwd=tcp:127.0.0.1:{self.port}-{guest_port}",
             "-device", "virtio-net-pci,netdev=n", *argv], stdout=self.log, stderr=self.log)

    def api(self, method, path, body=None, timeout=300):
        head = {"Content-Type": "application/json"} if body is not None else {}
        for last in (False, False, True):
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            try:
                c.request(method, path, json.dumps(body) if body is not None else None, head)
                got = c.getresponse()
                data = got.read()
                break
            except ConnectionResetError:  # QEMU's user network, when the guest is slow to accept
                if last:
                    raise
            finally:
                c.close()
        if got.status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {got.status} {data[:300]!r}")
        return json.loads(data) if data[:1] in (b"{", b"[") else data

    def ready(self):
        """Seconds from power-on until the API answers."""
        while True:
            try:
                self.api("GET", "/_ping", timeout=2)
                return time.monotonic() - self.began
            except (OSError, http.client.HTTPException, RuntimeError):
                if time.monotonic() - self.began > 300 or self.proc.poll() is not None:
                    raise RuntimeError(f"{self.name} does not answer") from None
                time.sleep(0.02)

    def docker(self, *args):
        done = subprocess.run([docker_cli(), "-H", f"tcp://127.0.0.1:{self.port}", *args],
                              capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise RuntimeError(f"{self.name}: docker {args}: {done.stderr}")
        return done.stdout

    def start_one(self, _=0):
        c = self.api("POST", "/containers/create", {"Image": "busybox", "Cmd": ["sleep", "100000"],
                                                    "HostConfig": {"NetworkMode": "none"}})
        self.api("POST", f"/containers/{c['Id']}/start")
        return c["Id"]

    def remove(self, ids):
        for i in ids:
            self.api("DELETE", f"/containers/{i}?force=1")

    def cpu(self):
        return sum(int(open(f"/proc/{self.proc.pid}/task/{t}/schedstat", encoding="ascii").read().split()[0])
                   for t in os.listdir(f"/proc/{self.proc.pid}/task")) / 1e9

    def stop(self):
        self.proc.kill()
        self.proc.wait()
        self.log.close()


class Linux(Host):
    def free(self):
        text = self.docker("run", "--rm", "--network", "none", "busybox", "cat", "/proc/meminfo")
        return int(text.split("MemAvailable:")[1].split()[0]) * 1024


class D0(Host):
    def free(self):
        """The whole machine's: what no cell has."""
        return self.api("GET", "/info")["MemFree"]


def big_image():
    """32 MiB in 512 files that compress by about half."""
    random.seed(1)
    entries = [(f"data/{i:03}", "f", random.randbytes(32768) + b"text " * 6553, 0o644) for i in range(512)]
    return docker_archive("big:latest", [busybox_layer(), tar_of([("data", "d", None, 0o755), *entries])],
                          {"Cmd": ["sh"]})


def timed(r, name, fn, host):
    cpu, began = host.cpu(), time.monotonic()
    out = fn()
    r.setdefault(name, []).append(time.monotonic() - began)
    r.setdefault(name + "_cpu", []).append(host.cpu() - cpu)
    return out


def measure(h, tmp):
    r = {"ready": [h.ready()], "ready_cpu": [h.cpu()]}
    h.docker("load", "-i", f"{tmp}/busybox.tar")
    timed(r, "load", lambda: h.docker("load", "-i", f"{tmp}/big.tar"), h)
    for i in range(RUNS + 1):
        timed(r, "run" if i else "first", lambda: h.docker(
            "run", "--rm", "--network", "none", "busybox", "true"), h)
    before = h.free()
    ids = timed(r, "serial", lambda: [h.start_one() for _ in range(COUNT)], h)
    each = (before - h.free()) / COUNT
    r["each"] = [each / 1024]
    r["fit"] = [int(before / each)]
    h.remove(ids)
    with concurrent.futures.ThreadPoolExecutor(WIDE) as pool:
        ids = timed(r, "parallel", lambda: list(pool.map(h.start_one, range(COUNT))), h)
    h.remove(ids)
    return r


def run(cls, name, argv, port, tmp):
    h = cls(name, argv, port, tmp)
    try:
        return measure(h, tmp)
    except Exception:
        with open(f"{tmp}/{name}.console", errors="replace", encoding="utf-8") as f:
            print(f.read()[-3000:])
        raise
    finally:
        h.stop()


ROWS = [("ready", "power-on to the API's answer", "s"),
        ("load", "docker load, 32 MiB in 512 files", "s"),
        ("run", "docker run --rm busybox true", "s"),
        ("serial", f"{COUNT} containers, one by one", "s"),
        ("parallel", f"{COUNT} containers, {WIDE} at a time", "s")]


def main():
    if not docker_cli():
        sys.exit("bench-docker: no docker command")
    where = os.path.join(BUILD, "bench", "docker")
    os.makedirs(where, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        for name, data in (("big", big_image()),
                           ("busybox", docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))):
            with open(f"{tmp}/{name}.tar", "wb") as f:
                f.write(data)
        with open(f"{tmp}/d0.img", "wb") as f:
            f.truncate(1 << 30)
        d0 = run(D0, "d0", ["-drive", f"if=none,id=d,format=raw,file={tmp}/d0.img", "-device",
                            "virtio-blk-pci,drive=d", "-kernel", f"{BUILD}/d0.elf", "-initrd",
                            f"{BUILD}/docker.d0a"], "10.0.2.16:2375", tmp)
        img = docker_guest.disk(tmp, where)
        linux = run(Linux, "linux", ["-drive", f"if=none,id=d,format=raw,file={img}", "-device",
                                     "virtio-blk-pci,drive=d", "-kernel",
                                     f"/boot/vmlinuz-{docker_guest.release()}", "-initrd",
                                     docker_guest.initrd(tmp), "-append", "console=ttyS0 quiet"],
                    "10.0.2.15:2375", tmp)
    rows = []
    for key, name, unit in ROWS:
        rows.append(row("docker", name, unit, "lower", d0[key], linux[key], PEER))
        rows.append(row("docker", name + ", CPU", "s of the emulator", "lower", d0[key + "_cpu"],
                        linux[key + "_cpu"], PEER))
    rows.append(row("docker", "memory of a container (mean)", "KiB", "lower", d0["each"], linux["each"], PEER))
    rows.append(row("docker", "containers in 2 GiB, by that", "", "higher", d0["fit"], linux["fit"], PEER))
    publish("docker", rows)


if __name__ == "__main__":
    main()
