#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs LTP's system-call tests in a linux cell, many per boot, in QEMU.

run.py LTP [--only REGEX] [--batch N] [--peer] [--results FILE] [--again]

LTP is an installed Linux Test Project (the folder with runtest/ and testcases/bin/), built by the
user for x86-64. Its programs and the libraries they need go into an archive in memory, the
root of the cell. --peer runs the same archive under a Debian cloud kernel in the same QEMU
instead. Results are merged into FILE (build/ltp.json, build/ltp-peer.json): name, code, time, the
telling lines. --again leaves out what passed already."""

import argparse
import gzip
import glob
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
LISTS = ("syscalls", "syscalls-ipc")
SECONDS = 60
# Tests that need more by what they count.
LONGER = {"fork13": 120, "fork14": 120, "msgstress01": 300, "pidfd_send_signal01": 90}
MEMORY = "900M"
CONF = f"""\
cell t image=transport heap=4M state=256K stack=64K channels=4 priority=5
cell ltp image=linux heap=64K stack=32K user={MEMORY} channels=8 priority=4 data=root.tar
args ltp argv=/ltp/runner tmpfs=1 caps=0x1ffffffffff wxallowed=1 env=PATH=/ltp/bin:/bin
channel t ltp protocol=socket ring=4M label=sock
"""
PASSWD = "".join(f"{n}:x:{u}:{u}:{n}:{h}:/bin/sh\n" for n, u, h in (
    ("root", 0, "/root"), ("daemon", 1, "/"), ("bin", 2, "/"), ("sys", 3, "/"), ("nobody", 65534, "/")))
GROUP = "".join(f"{n}:x:{g}:\n" for n, g in (
    ("root", 0), ("daemon", 1), ("bin", 2), ("sys", 3), ("users", 100), ("nobody", 65533),
    ("nogroup", 65534)))


def tests(ltp):
    """(name, [program, arguments]) of the lists."""
    found = []
    for name in LISTS:
        with open(os.path.join(ltp, "runtest", name), encoding="utf-8") as f:
            for line in f:
                words = line.split("#")[0].split()
                if len(words) >= 2 and words[0] not in (t[0] for t in found):
                    found.append((words[0], words[1:]))
    return found


def libraries(path):
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         check=False).stdout
    return re.findall(r"(/\S+)", out)


class Root:
    """The tree of the container."""

    def __init__(self, ltp, tmp):
        self.ltp, self.dir, self.libs = ltp, os.path.join(tmp, "root"), {}
        for name in ("bin", "dev", "etc", "ltp/bin", "proc", "root", "sys", "tmp", "var/tmp", "usr/bin",
                     "sbin", "home", "ltp/testcases"):
            os.makedirs(os.path.join(self.dir, name))
        os.symlink("../bin", f"{self.dir}/ltp/testcases/bin")
        os.chmod(os.path.join(self.dir, "var/tmp"), 0o1777)
        shutil.copy("/bin/busybox", f"{self.dir}/bin/busybox")
        for name in subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.split():
            if not os.path.lexists(f"{self.dir}/bin/{name}"):
                os.symlink("busybox", f"{self.dir}/bin/{name}")
        os.symlink("../../bin/env", f"{self.dir}/usr/bin/env")
        for name, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", "127.0.0.1 localhost\n")):
            with open(f"{self.dir}/etc/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        for name in ("services", "protocols", "host.conf", "nsswitch.conf"):
            if os.path.exists(f"/etc/{name}"):
                shutil.copy(f"/etc/{name}", f"{self.dir}/etc/{name}")
        subprocess.run(["gcc", "-static", "-O2", "-o", f"{self.dir}/ltp/runner", f"{HERE}/runner.c"],
                       check=True)
        self.library("/lib/x86_64-linux-gnu/libgcc_s.so.1")  # pthread_exit loads it
        self.every = set(os.listdir(f"{ltp}/testcases/bin"))
        for name in self.every:
            if not re.search(r"\d\d", name):
                self.add(name)

    def library(self, lib):
        if not os.path.exists(self.dir + lib):
            os.makedirs(os.path.dirname(self.dir + lib), exist_ok=True)
            shutil.copy(os.path.realpath(lib), self.dir + lib)

    def path(self, name):
        return f"{self.ltp}/testcases/bin/{name}"

    def add(self, name):
        to = f"{self.dir}/ltp/bin/{name}"
        if os.path.exists(to) or name not in self.every:
            return
        if os.path.isdir(self.path(name)):
            shutil.copytree(self.path(name), to, symlinks=True)
            return
        shutil.copy(self.path(name), to)
        with open(to, "rb") as f:
            elf = f.read(4) == b"\x7fELF"
        if elf:
            subprocess.run(["strip", to], check=False, stderr=subprocess.DEVNULL)
            for lib in libraries(self.path(name)):
                self.library(lib)

    def choose(self, batch):
        """Exactly these tests' own programs, and the list."""
        keep = set()
        for _, words in batch:
            stem = re.sub(r"_(16|64)$", "", words[0])
            keep |= {n for n in self.every if n == words[0] or n.startswith(stem)}
        for name in os.listdir(f"{self.dir}/ltp/bin"):
            if re.search(r"\d\d", name) and name not in keep:
                path = f"{self.dir}/ltp/bin/{name}"
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for name in sorted(keep):
            self.add(name)
        with open(f"{self.dir}/ltp/list", "w", encoding="utf-8") as f:
            for name, words in batch:
                f.write(f"{name} {LONGER.get(name, SECONDS)} {' '.join(words)}\n")


def machine_d0(root, tmp):
    subprocess.run(["tar", "--format=gnu", "--owner=0", "--group=0", "-C", root.dir, "-cf",
                    f"{tmp}/root.tar", "."], check=True)
    with open(f"{tmp}/conf", "w", encoding="utf-8") as f:
        f.write(CONF)
    subprocess.run([f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key",
                    "--out", f"{tmp}/archive", "--conf", f"{tmp}/conf", "--nucleus", f"{BUILD}/d0.elf",
                    "--cell", f"transport={BUILD}/cells/transport.elf",
                    "--cell", f"linux={BUILD}/cells/linux.elf,high", "--data", f"root.tar={tmp}/root.tar"],
                   check=True)
    return ["-kernel", f"{BUILD}/d0.elf", "-initrd", f"{tmp}/archive"]


def machine_peer(root, tmp):
    kernel = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
    if not kernel:
        sys.exit("ltp: no Debian cloud kernel in /boot (package linux-image-cloud-amd64)")
    listing = subprocess.run(["find", ".", "-print0"], cwd=root.dir, stdout=subprocess.PIPE, check=True)
    cpio = subprocess.run(["cpio", "-0", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root.dir,
                          input=listing.stdout, stdout=subprocess.PIPE, check=True).stdout
    with gzip.open(f"{tmp}/initrd", "wb", compresslevel=1) as f:
        f.write(cpio)
    return ["-kernel", kernel[-1], "-initrd", f"{tmp}/initrd", "-append",
            "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/ltp/runner -- plain"]


def run_machine(argv, batch, results, log):
    """Until the list is through or the machine is stuck; the tests that were not reached."""
    proc = subprocess.Popen(["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                             "-m", "1700", "-smp", os.environ.get("SMP", "1"), "-display", "none",
                             "-no-reboot", "-nic", "none", "-serial", "stdio"] + argv,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    sel = selectors.DefaultSelector()
    sel.register(proc.stdout, selectors.EVENT_READ)
    buffer, running, lines, begun = b"", None, [], time.monotonic()
    left = {name for name, _ in batch}
    ended = False
    try:
        while not ended:
            limit = 240 if not running else LONGER.get(running, SECONDS) + 60
            if not sel.select(max(0, begun + limit - time.monotonic())):
                lines.append("no answer")
                break
            chunk = os.read(proc.stdout.fileno(), 65536)
            if not chunk:
                break
            log.write(chunk)
            *whole, buffer = (buffer + chunk).split(b"\n")
            for raw in whole:
                line = raw.decode("utf-8", "replace").strip("\r")
                if m := re.search(r"ltp< (\S+)$", line):
                    running, lines, begun = m.group(1), [], time.monotonic()
                elif m := re.search(r"ltp> (.*)$", line):
                    lines.append(m.group(1))
                elif m := re.search(r"ltp: (\S+) (\d+|timeout) (\d+)$", line):
                    results[m.group(1)] = {"code": m.group(2), "ms": int(m.group(3)), "lines": lines}
                    left.discard(m.group(1))
                    running = None
                    begun = time.monotonic()
                elif re.search(r"ltp: end|cell ltp ended|Kernel panic", line):
                    if "end" not in line.split()[1:2]:
                        lines.append(line)
                    ended = True
    finally:
        proc.kill()
        proc.wait()
    if running:
        results[running] = {"code": "crash", "ms": 0, "lines": lines[-4:]}
        left.discard(running)
    elif len(left) == len(batch):
        sys.exit(f"ltp: the machine did not start; see {log.name}")
    return [t for t in batch if t[0] in left]


def summary(results):
    kinds = {}
    for r in results.values():
        kind = {"0": "pass", "32": "not applicable", "4": "warning"}.get(r["code"], "fail")
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{v} {k}" for k, v in sorted(kinds.items()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ltp")
    p.add_argument("--only", default="")
    p.add_argument("--batch", type=int, default=200)
    p.add_argument("--peer", action="store_true")
    p.add_argument("--again", action="store_true")
    p.add_argument("--results")
    a = p.parse_args()
    path = a.results or os.path.join(BUILD, "ltp-peer.json" if a.peer else "ltp.json")
    results = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            results = json.load(f)
    todo = [t for t in tests(a.ltp) if re.search(a.only, t[0]) and
            not (a.again and results.get(t[0], {}).get("code") in ("0", "32"))]
    with tempfile.TemporaryDirectory() as tmp, open(path.replace(".json", ".log"), "wb") as log:
        root = Root(a.ltp, tmp)
        while todo:
            batch, todo = todo[:a.batch], todo[a.batch:]
            root.choose(batch)
            argv = (machine_peer if a.peer else machine_d0)(root, tmp)
            missed = run_machine(argv, batch, results, log)
            todo = missed + todo
            with open(path, "w", encoding="utf-8") as f:
                json.dump(results, f, indent=1, sort_keys=True)
            print(f"ltp: {len(todo)} to go; {summary(results)}", flush=True)
    for name, _ in tests(a.ltp):
        r = results.get(name)
        if r and re.search(a.only, name) and r["code"] != "0":
            print(f"{name} {r['code']} {' | '.join(r['lines'][:2])[:200]}")


if __name__ == "__main__":
    main()
