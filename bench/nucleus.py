# SPDX-License-Identifier: ISC
"""The nucleus beside a Debian cloud kernel in the same QEMU, taking turns in one run."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import BUILD, TOP, console, publish, row  # noqa: E402

RUNS = int(os.environ.get("RUNS", "3"))
QEMU = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512",
        "-smp", "2", "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio"]
PEER = "Linux 6.1 (Debian cloud)"
CONF = """
cell beat-a image=heartbeat channels=4 priority=5
args beat-a every=100
cell beat-b image=heartbeat channels=4 priority=5
args beat-b interval=10 every=100
channel beat-a beat-b protocol=virtq ring=16K label=beat
cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,power,console,control
"""
PROBES = """
cell probe-call image=probe channels=2 priority=4
args probe-call do=hypercall n=20000
cell probe-there image=probe channels=2 priority=4
args probe-there do=notify n=3000
cell probe-back image=probe channels=2 priority=4
args probe-back do=answer
channel probe-there probe-back protocol=virtq ring=4K label=bell
"""
CYCLE = """
cell probe-cycle image=probe stack=32K channels=8 priority=4 caps=control,inspect
args probe-cycle do=cycle n=100
"""


def kernel():
    found = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
    if not found:
        sys.exit("bench: no Debian cloud kernel in /boot (package linux-image-cloud-amd64)")
    return found[-1]


def qemu(args, want, seconds, tmp):
    return console(QEMU + args, want, seconds, tmp)


def archive(conf, cells, tmp, more=()):
    path, out = os.path.join(tmp, "conf"), os.path.join(tmp, "archive")
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf)
    argv = [f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key", "--out",
            out, "--conf", path, "--nucleus", f"{BUILD}/d0.elf"]
    for c in cells:
        argv += ["--cell", f"{c}={BUILD}/cells/{c}.elf"]
    for c in more:
        argv += ["--cell", c]
    subprocess.run(argv, check=True)
    return out


def number(pattern, text):
    m = re.search(pattern, text)
    return float(m.group(1)) if m else None


def run_d0(tmp, readings):
    def take(name, value):
        if value is not None:
            readings.setdefault(name, []).append(value)

    boot = ["-kernel", f"{BUILD}/d0.elf", "-initrd"]
    text = qemu(boot + [archive(CONF, ["heartbeat", "monitor"], tmp)], r"d0: ready: .*\n", 60, tmp)
    ready = number(r"ready: .*?, ([\d.]+) s", text)
    take("boot", ready * 1e3 if ready else None)
    text = qemu(boot + [archive(CONF + PROBES, ["heartbeat", "monitor", "probe"], tmp)],
                r"(?s)probe hypercall.*probe notify|probe notify.*probe hypercall", 120, tmp)
    for what in ("hypercall", "notify"):
        m = re.search(rf"probe {what} n (\d+) ns (\d+)", text)
        take(what, int(m.group(2)) / int(m.group(1)) / 1e3 if m else None)
    text = qemu(boot + [archive(CYCLE, ["heartbeat", "probe"], tmp)], r"probe cycle .*\n", 120, tmp)
    m = re.search(r"probe cycle n (\d+) ns (\d+)", text)
    take("cells", int(m.group(1)) / (int(m.group(2)) / 1e9) if m else None)


def run_linux(tmp, readings):
    text = qemu(["-kernel", kernel(), "-initrd", f"{BUILD}/bench/initrd", "-append",
                 "console=ttyS0 quiet loglevel=0 panic=-1"], r"bench processes_per_s .*\n", 120, tmp)
    for name in ("init_us", "used_kib", "syscall_us", "round_trip_us", "processes_per_s"):
        value = number(rf"bench {name} ([\d.]+)", text)
        if value is not None:
            readings.setdefault(name, []).append(value)


def verification(tmp):
    """Share of one CPU and cycle time, after some rounds, as the monitor tells."""
    arch = archive(CONF, ["heartbeat", "monitor"], tmp)
    proc = subprocess.Popen(QEMU + ["-kernel", f"{BUILD}/d0.elf", "-initrd", arch],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seen, share, cycle = "", None, None
    try:
        for line in proc.stdout:
            seen += line
            if re.match(r"beat-b: heartbeat 800 ", line):
                proc.stdin.write("ring\rpoweroff\r")
                proc.stdin.flush()
            m = re.search(r"(\d+) cycles?, the last took (\d+) ms", line)
            cycle = int(m.group(2)) if m else cycle
            m = re.search(r"(\d+) KiB checked in (\d+) ms of CPU time", line)
            if m:
                share = int(m.group(2))
            if "power off" in line or len(seen) > 1 << 20:
                break
    finally:
        proc.kill()
        proc.wait()
    up = 10.0  # 800 beats of about 10 ms and more: at least this long
    return (share / (up * 10) if share is not None else None), cycle


def main():
    mine, peer = {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        for _ in range(RUNS):
            run_d0(tmp, mine)
            run_linux(tmp, peer)
        share, cycle = verification(tmp)
    size = {}
    if os.path.exists(f"{BUILD}/size.json"):
        with open(f"{BUILD}/size.json", encoding="utf-8") as f:
            size = json.load(f)
    nucleus = size.get("nucleus", {})
    memory = sum(nucleus.get(k, 0) for k in ("text", "data", "bss")) / 1024 or None
    rows = [
        row("nucleus", "kernel entry to all cells running", "ms", "lower", mine.get("boot"),
            [v / 1e3 for v in peer.get("init_us", [])] or None, PEER + ", to init"),
        row("nucleus", "hypercall round trip", "us", "lower", mine.get("hypercall"),
            peer.get("syscall_us"), PEER + ", getppid"),
        row("nucleus", "cell-to-cell round trip", "us", "lower", mine.get("notify"),
            peer.get("round_trip_us"), PEER + ", two pipes"),
        row("nucleus", "cells created, run, destroyed", "1/s", "higher", mine.get("cells"),
            peer.get("processes_per_s"), PEER + ", fork+exec+wait"),
        row("nucleus", "memory of the kernel", "KiB", "lower", memory, peer.get("used_kib"),
            PEER + ", used at init"),
        row("nucleus", "lines of code", "lines", "lower", nucleus.get("lines"), 10000, "the limit"),
        row("nucleus", "verification, share of one CPU", "%", "lower", share, 1.0, "the limit"),
        row("nucleus", "verification, full cycle", "ms", "lower", cycle, 2000, "the limit"),
    ]
    publish("nucleus", rows)


if __name__ == "__main__":
    os.chdir(TOP)
    main()
